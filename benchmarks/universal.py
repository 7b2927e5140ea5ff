"""The universal law and controller: their searches, and how they do on systems that the searches have not used.

    python benchmarks/universal.py law [--seed 1] [--evaluations 700] [--restarts 3] [--start LAW.json] --out LAW.json
    python benchmarks/universal.py controller --law LAW.json [--seed 0] [--generations 60] [--n 4] --out FILE
    python benchmarks/universal.py scale CONTROLLER [--methods bs32,tsit5] [--against scipy] [--set 1.5] [--out FILE]
    python benchmarks/universal.py compare CONTROLLER... [--side test] [--methods tsit5,bs32,dopri5,dop853] [--most 20]
    python benchmarks/universal.py compare CONTROLLER... --methods tsit5 --own 1500
    python benchmarks/universal.py errors CONTROLLER... [--methods dopri5] [--against scipy] [--rtols 1e-2,1e-3,1e-6]
    python benchmarks/universal.py clock CONTROLLER... [--methods tsit5] [--most 8] [--rounds 5]

It needs `pip install --no-deps dysts`.  `compare` prints, by method, evaluations at equal error over those of PI34, of
torchdiffeq's law and, with --own, of the law that a search with so many candidates finds for each system on twice --n
instances, and chooses on as many; geometric means over systems with 95 % intervals, in which the systems of one
mechanism are drawn together.  A list of training seeds, a,b,c, is one row: the first is the one that ships, the
interval draws all of them.  `errors` prints the error at the same tolerance over that of a law, as a person sees it who
changes the controller alone, tolerance scales included.  --most takes so many systems of a side, drawn by a fixed
seed.  `clock` compiles every system by itself, which takes minutes, and reads the time in lanes, over PI34 and over the
law that is fastest by the clock on choosing systems.  `scale` writes a controller with the tolerance scale that makes
its error that of a law at the same tolerance, on the choosing systems, and rests under methods of high order.
docs/universal.md says what is compared.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures.save import parsed

from stepsmith.controllers import resolve
from stepsmith.controllers.file import save
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.laws.law import Law
from stepsmith.controllers.learned.network import Learned
from stepsmith.train.algorithms.evolution import Settings
from stepsmith.train.evaluate.rows import Figure
from stepsmith.train.evaluate.runs import Runs
from stepsmith.train.evaluate.splits import Split
from stepsmith.train.run.provenance import provenance
from stepsmith.train.tune import published, tune_splits
from stepsmith.train.universal import search
from stepsmith.train.universal.compare import Ratios, matching_scale, ratios, runs_of
from stepsmith.train.universal.splits import OWN, PROTOCOL, Systems

AGAINST = ("pi34", "torchdiffeq")
#: published laws and hosts' defaults that have a row of their own
LAWS = ("scipy", "torchdiffeq", "diffrax", "torchode", "expgus", "sundials_pi", "predictive", "h211b", "i")
COLUMNS = (
    "method, against", "controller", "ratio of evaluations", "training seeds, median (range)", "without lost instances",
    "without relatives", "lost, charged, by both", "more than 5 % dearer",
)  # fmt: skip


def named(name: str) -> Any:
    """A controller without its tolerance scale; of a law's file the law.  What a search wrote rests as what ships."""
    found = tuned.read(name)[0] if name.endswith(".json") else resolve.controller(name)
    if isinstance(found, Learned) and found.family == search.NAME and len(found.layers) == 1:
        rests = "low_order" in found.decision.observation.features
        found = found if rests else search.resting(found)
    return found.unscaled()


def law(args: argparse.Namespace) -> None:
    drawn = search.pool(Systems(args.folder), args.n)
    start = tuned.read(args.start)[0] if args.start else None
    found = search.search_law(drawn, args.evaluations, args.seed, args.restarts, start)
    found.save(args.out)
    print(json.dumps({"law": found.law.as_dict(), "base": found.base, "ratios": found.ratios}, default=str, indent=1))


def controller(args: argparse.Namespace) -> None:
    drawn = search.pool(Systems(args.folder), args.n)
    settings = Settings(
        generations=args.generations, population=14, sigma=0.08, instances=args.n, dearest=1.2e5, reach=0.5,
        max_steps=10_000,
    )  # fmt: skip
    hidden = [int(v) for v in args.hidden.split(",")] if args.hidden else []
    path = Path(args.law)
    base = tuned.read(path)[0].replace(path.stem) if path.suffix == ".json" else registry.get(args.law).unscaled()
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


def own_laws(
    systems: Systems, method: str, splits: Sequence[Split], evaluations: int, n: int
) -> tuple[list[Runs], dict[str, Any]]:
    """Runs on every split of the law tuned on other instances of its system, and by system what its search was."""
    out, told = [], {}
    for split in splits:
        name = split.family.name.removeprefix("dysts:")
        train, valid = (systems.draw(part, method, 2 * n, [name]) for part in ("train", "validation"))
        if not (train and valid):
            raise ValueError(f"{name}: no reference of its training or validation instances passed its self-check")
        found = tune_splits(name, train, valid, evaluations, progress=False)
        out += runs_of([split], found.law, "tuned on the system")
        told[name] = {"law": found.law.as_dict(), **{k: found.facts[k] for k in ("chosen", "budget", "train")}}
    return out, told


def text(f: Figure) -> str:
    """A figure with its interval, where it has them."""
    interval = "" if math.isnan(f.low) else f" [{f.low:.3f}, {f.high:.3f}]"
    return "" if math.isnan(f.ratio) else f"{f.ratio:.3f}{interval}"


def shown(label: str, r: Ratios) -> str:
    dear = r.dearer()
    cells = [
        label,
        text(r.figure),
        "{median:.3f} ({low:.3f} to {high:.3f})".format(**r.seeds) if r.seeds else "",
        text(r.uncharged),
        f"{text(r.unrelated)}, {r.apart} systems" if r.apart else "",
        f"{r.lost}, {r.charged}, {r.both} of {r.instances}" + (f"; no ratio: {', '.join(r.skipped)}" * bool(r.skipped)),
        f"{len(dear)} of {len(r.systems)}{': ' * bool(dear)}{', '.join(dear[:4])}",
    ]
    return f"| {' | '.join(cells)} |"


def heading(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def compare(args: argparse.Namespace) -> None:
    systems = Systems(args.folder)
    names, apart = systems.some(args.side, args.most), systems.unrelated(args.side)
    out: dict[str, Any] = {"provenance": provenance(), "arguments": {k: str(v) for k, v in vars(args).items()}}
    means: dict[tuple[str, str], list[float]] = {}
    print(heading(*COLUMNS))
    notes = []
    for method in args.methods.split(","):
        splits = systems.draw(args.side, method, args.n, names)
        failed = sum(len(split.failed) for split in splits)
        notes.append(
            f"{method}: {len(splits)} of {len(names)} systems, {args.n} instances each, "
            f"{failed} of them without a reference that passes its self-check"
        )
        rows = {k: [runs_of(splits, registry.get(k).unscaled(), k)] for k in dict.fromkeys((*AGAINST, *LAWS))}
        for given in args.controllers:
            seeds = given.split(",")
            rows[Path(seeds[0]).stem] = [runs_of(splits, named(seed), seed) for seed in seeds]
        against = list(AGAINST)
        out[method] = {}
        if args.own:
            own, told = own_laws(systems, method, splits, args.own, args.n)
            rows["tuned on the system"] = [own]
            against.append("tuned on the system")
            out[method]["searches"] = told
            ended = sum(bool(search["budget"]["stopped_improving"]) for search in told.values())
            notes.append(f"{method}: {args.own} candidates asked for a system; {ended} searches stopped improving")
        for base in against:
            for k, runs in rows.items():
                if k != base:
                    found = ratios(runs[0], rows[base][0], splits, runs, unrelated=apart)
                    print(shown(f"{method}, {base} | {k}", found), flush=True)
                    out[method][f"{k} / {base}"] = found.to_json()
                    means.setdefault((base, k), []).append(math.log(found.figure.ratio))
    for (base, k), values in means.items():
        if len(values) > 1:
            blank = " |" * (len(COLUMNS) - 3)
            print(f"| all {len(values)} methods, {base} | {k} | {math.exp(np.mean(values)):.3f} |{blank}")
    print(*notes, sep="\n")
    if args.out:
        Path(args.out).write_text(json.dumps(out))


def errors(args: argparse.Namespace) -> None:
    systems = Systems(args.folder)
    rtols = np.array([float(v) for v in args.rtols.split(",")])
    told = f"error over {args.against}'s, mean"
    print(heading("method", "controller", "rtol", told, "larger", "largest ratio", "not compared"))
    for method in args.methods.split(","):
        splits = systems.draw(args.side, method, args.n, systems.some(args.side, args.most))
        theirs = [split.sweep(registry.get(args.against).general(), rtols).err for split in splits]
        for name in args.controllers:
            controller = resolve.controller(name)
            mine = [split.sweep(controller, rtols).err for split in splits]
            for j, rtol in enumerate(rtols):
                with np.errstate(all="ignore"):
                    logs = [np.log(a[:, j] / b[:, j]) for a, b in zip(mine, theirs, strict=True)]
                used = [v[np.isfinite(v)] for v in logs]
                every = np.concatenate(used)
                mean = np.exp(np.mean([v.mean() for v in used if v.size]))
                lost = sum(len(v) for v in logs) - len(every)
                cells = f"{mean:.2f} | {np.mean(every > 0.0):.0%} of {len(every)} | {np.exp(every.max()):.1f} | {lost}"
                print(f"| {method} | {Path(name).stem} | {rtol:g} | {cells} |", flush=True)


def timed(splits: Sequence[Split], rows: Mapping[str, Any], rounds: int) -> dict[str, list[Runs]]:
    """Runs on every split with the seconds of every round, in which the contestants take turns."""
    runs: dict[str, list[Runs]] = {k: [] for k in rows}
    names = list(rows)
    for split in splits:
        many, tolerances = np.tile(np.arange(len(split.ids)), 8), split.tolerances
        for c in rows.values():
            split.seconds(c, float(tolerances[0]), many)  # compiles
        seconds = {k: np.empty((rounds, len(tolerances))) for k in rows}
        for r in range(rounds):
            for j, rtol in enumerate(tolerances):
                for k in names[r % len(names) :] + names[: r % len(names)]:
                    # a disturbance only adds
                    seconds[k][r, j] = min(split.seconds(rows[k], float(rtol), many) for _ in range(2))
        for k, c in rows.items():
            plain, wall = runs_of([split], c, k)[0], np.median(seconds[k], axis=0)
            work = {"nfev": plain.work["nfev"], "wall": wall}
            runs[k].append(Runs(k, plain.err, work, tolerances, rounds={"wall": seconds[k] / wall}))
    return runs


def clock(args: argparse.Namespace) -> None:
    systems = Systems(args.folder, apart=True)
    lines = [heading("method", "controller", "over", "evaluations", "time in lanes")]
    for method in args.methods.split(","):
        valid = systems.draw("validation", method, args.n, systems.some("validation", args.most))
        # in the kernels that the table's laws share
        laws = {k: registry.get(k).unscaled() for k in dict.fromkeys((*published(method), *AGAINST, *LAWS))}
        found = timed(valid, laws, args.rounds)
        ratio = {k: ratios(runs, found["pi34"], valid, measure="wall").figure.ratio for k, runs in found.items()}
        fastest = min(ratio, key=lambda k: (ratio[k], k))
        near = ", ".join(f"{k} {ratio[k]:.3f}" for k in sorted(ratio, key=lambda k: ratio[k])[:5])
        print(f"{method}, {len(valid)} choosing systems, time over PI34's: {near}", flush=True)
        splits = systems.draw(args.side, method, args.n, systems.some(args.side, args.most))
        print(f"{method}, {len(splits)} systems: {', '.join(split.family.name for split in splits)}", flush=True)
        bases = tuple(dict.fromkeys(("pi34", fastest)))
        rows = {k: laws[k] for k in bases} | {Path(k).stem: named(k) for k in args.controllers}
        runs = timed(splits, {k: c.specialised() if isinstance(c, Law) else c for k, c in rows.items()}, args.rounds)
        for base in bases:
            for k in rows:
                if k != base:
                    both = (ratios(runs[k], runs[base], splits, measure=m).figure for m in ("nfev", "wall"))
                    lines.append(f"| {method} | {k} | {base} | {' | '.join(map(text, both))} |")
    print(*lines, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("out/universal"), help="where right-hand sides are written")
    commands = parser.add_subparsers(required=True)
    for run in (law, controller, scale, compare, errors, clock):
        one = commands.add_parser(run.__name__)
        one.set_defaults(run=run)
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--n", type=int, default=4 if run in (law, controller) else 8, help="instances a system")
        one.add_argument("--out", required=run in (law, controller))
        if run is law:
            one.add_argument("--evaluations", type=int, default=700)
            one.add_argument("--restarts", type=int, default=4)
            one.add_argument("--start", help="file of a law found earlier, from which the first search begins")
            continue
        if run is controller:
            one.add_argument("--law", default="universal_law")
            one.add_argument("--variant", default="universal", choices=tuple(search.FEATURES))
            one.add_argument("--generations", type=int, default=80)
            one.add_argument("--hidden", default="", help="widths of hidden layers; none: a closed form")
            continue
        one.add_argument("--methods", default={clock: "tsit5", errors: "dopri5"}.get(run, ",".join(PROTOCOL)))
        if run in (scale, errors):
            one.add_argument("--against", default="scipy")
        if run is scale:
            one.add_argument("controller")
            one.add_argument("--set", type=float, help="the scale that is written; default: the one that matches")
            continue
        one.add_argument("controllers", nargs="*", default=["universal_law", "universal"])
        one.add_argument("--side", default="test", choices=tuple(OWN))
        drawn = 8 if run is clock else 0
        one.add_argument("--most", type=int, default=drawn, help="how many systems are drawn; 0: all")
        if run is compare:
            one.add_argument("--own", type=int, default=0, help="candidates of a law's search on every system")
        elif run is errors:
            one.add_argument("--rtols", default="1e-2,1e-3,1e-6")
        else:
            one.add_argument("--rounds", type=int, default=5)
    args = parsed(parser)
    warnings.filterwarnings("ignore", message="controller .* was trained with method")  # that is the test
    args.run(args)


if __name__ == "__main__":
    main()
