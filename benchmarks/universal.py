"""The universal law and controller: their searches, and how they do on systems that the searches have not seen.

    python benchmarks/universal.py law [--seed 1] [--evaluations 700] [--n 4] --out LAW.json
    python benchmarks/universal.py controller --law LAW.json [--seed 0] [--generations 80] [--n 4] --out FILE
    python benchmarks/universal.py scale CONTROLLER [--against scipy] [--set 1.5] --out FILE
    python benchmarks/universal.py compare CONTROLLER... [--side test] [--methods tsit5,bs32,dopri5,dop853] [--own 150]
    python benchmarks/universal.py clock CONTROLLER... [--methods tsit5] [--rounds 5]

It needs `pip install --no-deps dysts`.  `compare` prints, by method, evaluations at equal error over those of PI34, of
torchdiffeq's law and, with --own, of the law that a search with so many candidates finds for each system; geometric
means over systems with 95 % intervals.  A list of training seeds, a,b,c, is one row: the first is the one that ships,
the interval draws all of them.  `clock` compiles every system by itself, which takes minutes, and reads the time in
lanes.  `scale` writes a controller with the tolerance scale that makes its error that of a law at the same tolerance,
on the choosing systems, and rests under methods of high order.  docs/universal.md says what is compared.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from stepsmith.controllers import resolve
from stepsmith.controllers.file import save
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.laws.law import Law
from stepsmith.train.algorithms.evolution import Settings
from stepsmith.train.evaluate.runs import Runs
from stepsmith.train.run.provenance import provenance
from stepsmith.train.tune import tune_splits
from stepsmith.train.universal import search
from stepsmith.train.universal.compare import Ratios, matching_scale, ratios, runs_of
from stepsmith.train.universal.splits import PROTOCOL, Systems

AGAINST = ("pi34", "torchdiffeq")
#: published laws and hosts' defaults that have a row of their own
LAWS = ("scipy", "torchdiffeq", "diffrax", "torchode", "expgus", "sundials_pi", "predictive", "h211b", "i")


def named(name: str) -> Any:
    """A controller without its tolerance scale; of a tuned law's file the law."""
    found = tuned.read(name)[0] if name.endswith(".json") else resolve.controller(name)
    return found.unscaled()


def law(args: argparse.Namespace) -> None:
    drawn = search.pool(Systems(args.folder), args.n)
    found = search.search_law(drawn, args.evaluations, args.seed)
    found.save(args.out)
    print(json.dumps({"law": found.law.as_dict(), "base": found.base, "ratios": found.ratios}, default=str, indent=1))


def controller(args: argparse.Namespace) -> None:
    drawn = search.pool(Systems(args.folder), args.n)
    settings = Settings(
        generations=args.generations, population=14, sigma=0.08, instances=args.n, dearest=1.2e5, reach=0.5,
        max_steps=10_000,
    )  # fmt: skip
    hidden = [int(v) for v in args.hidden.split(",")] if args.hidden else []
    base = tuned.read(args.law)[0] if args.law.endswith(".json") else registry.get(args.law).unscaled()
    print(*search.search_controller(drawn, base, args.variant, settings, args.seed, Path(args.out), hidden))


def scale(args: argparse.Namespace) -> None:
    """The geometric mean over methods of the scale on the choosing systems."""
    systems, found = Systems(args.folder), {}
    for method in args.methods.split(","):
        splits = systems.draw("validation", method, args.n)
        theirs = runs_of(splits, registry.get(args.against).unscaled(), args.against)
        found[method] = matching_scale(runs_of(splits, named(args.controller), args.controller), theirs)
    matched = float(f"{math.exp(np.mean(np.log(list(found.values())))):.2g}")
    value = args.set or matched
    print(json.dumps({"scale": value, "matched": matched, "by method": found}))
    if args.out:
        learned = search.resting(resolve.controller(args.controller))
        told = {"scale": value, "against": args.against, "split": "choosing systems", "by_method": found}
        told |= {"chosen": "by hand"} if args.set else {}
        save(learned.replace(tolerance_scale=value, measured={**learned.measured, "tolerance_scale": told}), args.out)


def own_laws(systems: Systems, method: str, splits: list, evaluations: int, n: int) -> list[Runs]:
    """Runs on every split of the law tuned on other instances of its system."""
    out = []
    for split in splits:
        name = split.family.name.removeprefix("dysts:")
        train, valid = (systems.draw(part, method, 2 * n, [name]) for part in ("train", "validation"))
        if not (train and valid):
            raise ValueError(f"{name}: no reference of its training or validation instances passed its self-check")
        law = tune_splits(name, train, valid, evaluations, progress=False).law
        out += runs_of([split], law, "tuned on the system")
    return out


def shown(label: str, r: Ratios) -> str:
    f = r.figure
    dear = r.dearer()
    return (
        f"| {label} | {f.ratio:.3f} [{f.low:.3f}, {f.high:.3f}] | {len(dear)} of {len(r.systems)}"
        f"{': ' + ', '.join(dear[:4]) if dear else ''} |"
    )


def compare(args: argparse.Namespace) -> None:
    systems = Systems(args.folder)
    out: dict[str, Any] = {"provenance": provenance(), "arguments": {k: str(v) for k, v in vars(args).items()}}
    means: dict[tuple[str, str], list[float]] = {}
    print("| method, against | controller | ratio of evaluations | more than 5 % dearer |\n|---|---|---|---|")
    for method in args.methods.split(","):
        splits = systems.draw(args.side, method, args.n)
        rows = {k: [runs_of(splits, registry.get(k).unscaled(), k)] for k in dict.fromkeys((*AGAINST, *LAWS))}
        for given in args.controllers:
            seeds = given.split(",")
            rows[Path(seeds[0]).stem] = [runs_of(splits, named(seed), seed) for seed in seeds]
        against = list(AGAINST)
        if args.own:
            rows["tuned on the system"] = [own_laws(systems, method, splits, args.own, args.n)]
            against.append("tuned on the system")
        out[method] = {}
        for base in against:
            for k, runs in rows.items():
                if k != base:
                    found = ratios(runs[0], rows[base][0], splits, runs)
                    print(shown(f"{method}, {base} | {k}", found), flush=True)
                    out[method][f"{k} / {base}"] = found.to_json()
                    means.setdefault((base, k), []).append(math.log(found.figure.ratio))
    for (base, k), values in means.items():
        if len(values) > 1:
            print(f"| all {len(values)} methods, {base} | {k} | {math.exp(np.mean(values)):.3f} | |")
    if args.out:
        Path(args.out).write_text(json.dumps(out))


def clock(args: argparse.Namespace) -> None:
    systems = Systems(args.folder, apart=True)
    print("| method | controller | evaluations over PI34's | time in lanes over PI34's |\n|---|---|---|---|")
    for method in args.methods.split(","):
        splits = systems.draw(args.side, method, args.n, systems.sides[args.side][: args.most or None])
        rows = {"pi34": registry.get("pi34"), **{Path(name).stem: named(name) for name in args.controllers}}
        rows = {k: c.specialised() if isinstance(c, Law) else c for k, c in rows.items()}
        runs: dict[str, list[Runs]] = {k: [] for k in rows}
        for split in splits:
            many = np.tile(np.arange(len(split.ids)), 8)
            tolerances = split.tolerances
            seconds = {k: np.full((args.rounds, len(tolerances)), np.inf) for k in rows}
            for turn in range(args.rounds):
                for j, rtol in enumerate(tolerances):
                    for k, c in rows.items():
                        if turn == j == 0:
                            split.seconds(c, float(rtol), many)  # compiles
                        seconds[k][turn, j] = min(split.seconds(c, float(rtol), many) for _ in range(2))
            for k, c in rows.items():
                plain = runs_of([split], c, k)[0]
                wall = np.median(seconds[k], axis=0)
                runs[k].append(Runs(k, plain.err, {"nfev": plain.work["nfev"], "wall": wall}, tolerances))
        for k in rows:
            if k != "pi34":
                work, wall = (ratios(runs[k], runs["pi34"], splits, (), m).figure for m in ("nfev", "wall"))
                both = " | ".join(f"{f.ratio:.3f} [{f.low:.3f}, {f.high:.3f}]" for f in (work, wall))
                print(f"| {method} | {k} | {both} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("out/universal"), help="where right-hand sides are written")
    commands = parser.add_subparsers(required=True)
    for run in (law, controller, scale, compare, clock):
        one = commands.add_parser(run.__name__)
        one.set_defaults(run=run)
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--n", type=int, default=4 if run in (law, controller) else 8, help="instances a system")
        one.add_argument("--out", required=run in (law, controller))
        if run is law:
            one.add_argument("--evaluations", type=int, default=700)
        elif run is controller:
            one.add_argument("--law", default="universal_law")
            one.add_argument("--variant", default="universal", choices=tuple(search.FEATURES))
            one.add_argument("--generations", type=int, default=80)
            one.add_argument("--hidden", default="", help="widths of hidden layers; none: a closed form")
        else:
            if run is scale:
                one.add_argument("controller")
                one.add_argument("--against", default="scipy")
                one.add_argument("--set", type=float, help="the scale that is written; default: the one that matches")
            else:
                one.add_argument("controllers", nargs="*", default=["universal_law", "universal"])
            one.add_argument("--side", default="test", choices=("train", "validation", "test"))
            one.add_argument("--methods", default="tsit5" if run is clock else ",".join(PROTOCOL))
            one.add_argument("--own", type=int, default=0, help="candidates of a law's search on every system")
            one.add_argument("--rounds", type=int, default=5)
            one.add_argument("--most", type=int, default=0, help="systems that are taken, the first so many; 0: all")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message="controller .* was trained with method")  # that is the test
    args.run(args)


if __name__ == "__main__":
    main()
