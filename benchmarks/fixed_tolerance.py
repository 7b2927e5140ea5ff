"""What it brings to put a learned controller in the place of a law at a fixed tolerance: evaluations, time and error.

    python benchmarks/fixed_tolerance.py [FAMILY[:METHOD]=CONTROLLER ...] [--rtol 1e-4,1e-6,1e-8] [--n 200] [--out FILE]

CONTROLLER is a file or a zoo name.  One that has no tolerance scale gets one first, on the validation split against
the law that people use there (`--against`; default the method's own, pi34 of explicit methods), unless `--as-is` is
given.  On the test split, at every tolerance, the law, the tuned law, the controller with its scale ("swap") and
without it ("unscaled") solve the same instances.  The absolute tolerance is the family's factor times rtol.

Columns are ratios to the law, and to the tuned law: evaluations of the right-hand side, work (with linear algebra at
its measured cost; evaluations again where there is none), time.  Ratios of evaluations and work are geometric means
over instances.  The time is that of ensembles on one thread with all lanes busy, decisions inside; the controllers take
turns in `--rounds` rounds, whose median counts.  Error ratios are of the geometric mean and of the 90th percentile.
Brackets are 95 % bootstrap intervals over instances, those of the time over rounds too.  Instances count that all four
solve; each one's failures are shown.  Prints Markdown; `--out` writes JSON with all values of every instance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from figures.save import parsed

from stepsmith.controllers import resolve
from stepsmith.controllers.laws.law import Law
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import methods, problems
from stepsmith.integrators.kernels.build import lanes_for
from stepsmith.policies.tolerance_scale import matched_scale, reference_law
from stepsmith.train.evaluate.clock import copies
from stepsmith.train.evaluate.splits import Split, draw
from stepsmith.train.run.provenance import provenance

#: families that have both a tuned law and a controller in the zoo
FAMILIES = (
    "three_body=three-body-formula", "kuramoto=kuramoto", "lorenz96=lorenz96", "e5:rodas5p=e5", "hires:rodas5p=hires",
    "three_body=three-body", "neural_field=neural-field", "steppo_vdpol=steppo", "steppo_decay=steppo",
    "steppo_brusselator=steppo",
)  # fmt: skip
RESAMPLES = 2_000
#: seconds that one timing takes at least, and how often its ensemble is put together for that at most
LEAST, MOST_TIMES = 0.02, 200


def controllers(
    name: str, method: str, given: str, against: str | None, rtols: np.ndarray, n: int, as_is: bool
) -> dict[str, Any]:
    """What is compared, by the name of its row; the law first, then the tuned one.  n: validation instances."""
    learned = resolve.controller(given, name, method)
    law_name = against or reference_law(methods.get(method))
    if not isinstance(learned, Learned):
        raise ValueError(f"{given} is no learned controller, and has no tolerance scale to set")
    if learned.tolerance_scale == 1.0 and not as_is:
        learned = matched_scale(learned, name, method, against, tuple(rtols), n).applied(learned)
    laws = {law_name: resolve.controller(law_name, name, method), "tuned": resolve.controller("tuned", name, method)}
    # every law in a kernel of its own, as the network is
    rows = {k: law.specialised() if isinstance(law, Law) else law for k, law in laws.items()}
    rows["swap"] = learned
    return rows if learned.tolerance_scale == 1.0 else {**rows, "unscaled": learned.unscaled()}


def seconds(split: Split, rows: dict[str, Any], rtol: float, common: np.ndarray, work: dict, rounds: int) -> dict:
    """(rounds,) seconds of one pass over the instances `common`, by controller; they take turns."""
    lanes = lanes_for(split.batch.n)
    busy = 1.0 if methods.get(split.method).implicit else 2.0
    queue, found = {}, {k: np.empty(rounds) for k in rows}
    for k in rows:
        order = common[np.argsort(-work[k][common], kind="stable")]
        once = np.repeat(order, copies(work[k][common], lanes, busy))
        split.seconds(rows[k], rtol, order[:1])  # what is loaded or compiled at the first call
        times = int(np.clip(np.ceil(LEAST / split.seconds(rows[k], rtol, once)), 1, MOST_TIMES))
        queue[k] = np.repeat(once, times)
    names = list(rows)
    for r in range(rounds):
        for k in names[r % len(names) :] + names[: r % len(names)]:
            found[k][r] = split.seconds(rows[k], rtol, queue[k]) * len(common) / len(queue[k])
    return found


def figures(kept: dict[str, dict], times: dict, base: str, rng: np.random.Generator) -> dict[str, Any]:
    """Ratios of every controller to `base` with intervals; kept: values (B,) of the instances that all solve."""
    count, rounds = len(kept[base]["err"]), len(times[base])
    picks = rng.integers(0, count, (RESAMPLES, count))
    turns = rng.integers(0, rounds, (RESAMPLES, rounds))
    whole, all_turns = np.arange(count)[None], np.arange(rounds)[None]

    def ratio(what: str, k: str, index: np.ndarray, turn: np.ndarray) -> np.ndarray:
        a, b = kept[k], kept[base]
        if what in ("nfev", "work"):
            return np.exp(np.log(a[what][index] / b[what][index]).mean(axis=1))
        if what == "time":  # seconds are shared out among instances by their work
            share = [c["work"][index].sum(axis=1) / c["work"].sum() for c in (a, b)]
            return np.median(times[k][turn], axis=1) * share[0] / (np.median(times[base][turn], axis=1) * share[1])
        if what == "gmean":
            return np.exp(np.log(a["err"][index] / b["err"][index]).mean(axis=1))
        first, second = (np.quantile(c["err"][index], 0.9, axis=1, method="higher") for c in (a, b))
        return first / second

    out: dict[str, Any] = {}
    for k in kept:
        out[k] = {}
        for what in ("nfev", "work", "time", "gmean", "q90"):
            drawn = ratio(what, k, picks, turns)
            low, high = np.quantile(drawn, (0.025, 0.975))
            out[k][what] = [float(ratio(what, k, whole, all_turns)[0]), float(low), float(high)]
    return out


def measured(name: str, method: str, given: str, args: argparse.Namespace, rtols: np.ndarray) -> dict[str, Any]:
    """Everything on one family, as JSON-like data."""
    rows = controllers(name, method, given, args.against, rtols, args.n_validation, args.as_is)
    split = draw(name, method, "test", args.n, args.seed)
    sweeps = {k: split.sweep(c, rtols) for k, c in rows.items()}
    law, rng = next(iter(rows)), np.random.default_rng(0)
    levels = []
    for i, rtol in enumerate(rtols):
        values = {k: {"err": s.err[:, i], "nfev": s.nfev[:, i], "work": s.work[:, i]} for k, s in sweeps.items()}
        common = np.flatnonzero(np.all([np.isfinite(v["err"]) & (v["err"] > 0.0) for v in values.values()], axis=0))
        failed = {k: int(np.isinf(v["err"]).sum()) for k, v in values.items()}
        level: dict[str, Any] = {"rtol": float(rtol), "instances": split.ids[common].tolist(), "failed": failed}
        if len(common) > 1:
            work = {k: v["work"] for k, v in values.items()}
            times = seconds(split, rows, float(rtol), common, work, args.rounds)
            kept = {k: {w: x[common] for w, x in v.items()} for k, v in values.items()}
            level["to"] = {base: figures(kept, times, base, rng) for base in (law, "tuned")}
            level["seconds"] = {k: t.tolist() for k, t in times.items()}
            level["values"] = {k: {w: x.tolist() for w, x in v.items()} for k, v in kept.items()}
        levels.append(level)
    swap = rows["swap"]
    return {
        "family": name, "method": method, "controller": given, "law": law, "tolerance_scale": swap.tolerance_scale,
        "set_by": dict(swap.measured).get("tolerance_scale"), "seed": args.seed, "drawn": args.n, "levels": levels,
    }  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """The table of one family."""
    law = found["law"]
    lines = [
        f"\n**{found['family']}**, {found['method']}: `{found['controller']}` at {found['tolerance_scale']:.4g} times "
        f"the tolerance, in the place of {law}\n",
        f"| rtol | | evaluations/{law} | work/{law} | time/{law} | evaluations/tuned | time/tuned | error | "
        f"error/{law} | 90 % error/{law} | failed |",
        "|---" * 11 + "|",
    ]
    for level in found["levels"]:
        if "to" not in level:
            lines.append(f"| {level['rtol']:.0e} | fewer than two instances that all solve |" + " |" * 9)
            continue
        for k, failed in level["failed"].items():
            a, b = level["to"][law][k], level["to"]["tuned"][k]
            error = np.exp(np.mean(np.log(level["values"][k]["err"])))
            cells = [a["nfev"], a["work"], a["time"], b["nfev"], b["time"]]
            lines.append(
                f"| {level['rtol']:.0e} | {k} | {' | '.join(map(shown, cells))} | {error:.1e} | {shown(a['gmean'])} | "
                f"{shown(a['q90'])} | {failed}/{failed + len(level['instances'])} |"
            )
    return "\n".join(lines)


def shown(figure: list[float]) -> str:
    """A ratio with its interval."""
    return f"{figure[0]:.3g} [{figure[1]:.3g}, {figure[2]:.3g}]" if figure[1] != figure[2] else f"{figure[0]:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY[:METHOD]=CONTROLLER", default=list(FAMILIES))
    parser.add_argument("--against", help="law in whose place the controller is put (default: the method's)")
    parser.add_argument("--rtol", default="1e-4,1e-6,1e-8")
    parser.add_argument("--n", type=int, default=200, help="test instances")
    parser.add_argument("--n-validation", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-is", action="store_true", help="set no scale where the file has none")
    parser.add_argument("--out", type=Path)
    args = parsed(parser)
    if args.rounds < 5:
        parser.error("--rounds must be at least 5: an interval of fewer rounds of timing is too narrow")
    rtols, all_found = np.array([float(r) for r in args.rtol.split(",")]), []
    for item in args.families:
        left, _, given = item.partition("=")
        if not given:
            parser.error(f"{item!r} is not FAMILY[:METHOD]=CONTROLLER")
        name, _, method = left.partition(":")
        family = problems.family(problems.named(name))
        learned = resolve.controller(given, family.name, method or family.method)
        try:
            found = measured(name, method or learned.trained_method or family.method, given, args, rtols)
        except ValueError as error:  # a family without a tuned law, or where no scale is to be had
            print(f"\n**{name}**: {error}")
            continue
        all_found.append(found)
        print(markdown(found), flush=True)
    made = {"command": "python benchmarks/fixed_tolerance.py " + " ".join(sys.argv[1:]), **provenance()}
    if args.out is not None:
        args.out.write_text(json.dumps({**made, "families": all_found}, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
