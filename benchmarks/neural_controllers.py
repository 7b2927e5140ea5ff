"""Controllers during the training of neural ODEs, at matched error: the fields that training runs met, in four kinds of
solves.

    python benchmarks/neural_controllers.py RUN [RUN ...] --validation RUN [RUN ...] [-c FILE ...] [--batch 16]
      [--batches 1] [--out FILE]

A RUN is a folder of `stepsmith train` that keeps weights ([train] keep = [...]); an instance is kept weights and a
batch of test (validation) subjects.  In every kind of solve the law that others are measured against is chosen on the
validation runs.  Rows: every published law, torchdiffeq's default (dopri5 under its law; everything else is tsit5), the
law tuned on the compiled family `neural_field`, the zoo's `neural-field`, and files given with -c.

    cold         as `odeint` does it
    even         with even_steps
    warm         the solve begins with the step that suited another batch of the same weights, as under
                 NeuralODE(warm_start=True)
    warm, even   both

Hosts' laws run cold alone; of the published laws, the --top best on the validation runs go to the other kinds.  One
task at a time: tolerances that match an error belong to a task.  Weights of one run are not independent: intervals
resample instances, and say little with few runs.  What stands here is the work at equal error of
`train.evaluate.metric`, in f-evaluations; the clock, and what inference costs, are seen in training
(`neural_training.toml`).

Columns: f-evaluations over torchdiffeq's default (cold) at equal error, and, for cold and "warm, even", over the best
law of the same kind. `neural_match.py` finds the tolerances at which controllers reach the same error.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers import resolve
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.neural.checks import FILLS
from stepsmith.train.evaluate.contestants import HOSTS
from stepsmith.train.evaluate.headline import choose_denominator
from stepsmith.train.evaluate.metric import Runs, work_ratio
from stepsmith.train.neural import fields
from stepsmith.train.neural.folder import read_config
from stepsmith.train.run.progress import Progress
from stepsmith.train.run.provenance import provenance

DEFAULT = "torchdiffeq's default"
KINDS = {"cold": (False, False), "even": (False, True), "warm": (True, False), "warm, even": (True, True)}


def contestants(files: list[str]) -> list[tuple[str, str, Any, str]]:
    """(name, kind, controller, method)."""
    laws = [(name, registry.get(name)) for name in registry.names("linear")]
    out = [(DEFAULT, "host", registry.get("torchdiffeq"), "dopri5")]
    usable = [(name, law) for name, law in laws if law.needs <= FILLS | {rec.HS} and name != "torchdiffeq"]
    out += [(name, "host" if name in HOSTS else "classical", law, "tsit5") for name, law in usable]
    out.append(("tuned on neural_field", "tuned", resolve.controller("tuned", "neural_field", "tsit5"), "tsit5"))
    out.append(("neural-field (learned)", "learned", ss.controller("neural-field"), "tsit5"))
    for file in files:
        out.append((Path(file).stem, "tuned" if file.endswith(".json") else "learned", ss.controller(file), "tsit5"))
    return out


def measured(table: list, instances: list, solves: str, bar: Progress, done: list[int]) -> dict[str, Runs]:
    """Runs of every contestant in one kind of solves."""
    out = {}
    for name, kind, controller, method in table:
        s = fields.FieldSplit(fields.FieldBand("fields"), method, 0, instances, *KINDS[solves], whole=False).sweep(
            controller
        )
        out[name] = Runs(
            name, s.err, {"nfev": s.work, "work": s.work}, np.array(fields.TOLERANCES), s.attempts, s.rejected, kind
        )
        done[0] += 1
        bar.update(done[0])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--validation", nargs="+", type=Path, required=True)
    parser.add_argument("-c", "--controller", action="append", default=[])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--top", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the subjects")
    parser.add_argument("--out", type=Path)
    args = parsed(parser)
    torch.set_num_threads(1)
    table = contestants(args.controller)
    laws = [row for row in table if row[1] in ("classical", "tuned")]
    both = {run.resolve() for run in args.runs} & {run.resolve() for run in args.validation}
    if both:
        parser.error(f"{both.pop()} is a run to compare on and one to choose the law on")
    if len({read_config(run / "config.json").task["name"] for run in (*args.runs, *args.validation)}) > 1:
        parser.error("the runs are of several tasks: compare one at a time")
    # other subjects in every run
    test = [
        i
        for k, run in enumerate(args.runs)
        for i in fields.instances(run, "test", args.batch, args.batches, args.seed + k)
    ]
    valid = [
        i
        for k, run in enumerate(args.validation)
        for i in fields.instances(run, "validation", args.batch, 1, args.seed + k)
    ]
    own = [row for row in table if row[1] in ("tuned", "learned")]
    sweeps = len(KINDS) * (len(laws) + len(own) + args.top) + len(table) - len(own) - args.top
    bar, done = Progress("sweeps", sweeps, "controllers", True), [0]
    levels = fields.FieldBand("fields").error_levels
    result: dict[str, Any] = {
        "instances": len(test),
        "validation": len(valid),
        "batch": args.batch,
        "rows": {},
        **provenance(),
    }
    best, runs = {}, {}
    for solves in KINDS:
        on_valid = measured(laws, valid, solves, bar, done)
        best[solves], ratios = choose_denominator(list(on_valid.values()), levels)
        published = sorted((row[0] for row in table if row[1] == "classical"), key=lambda name: ratios[name])
        kept = {*published[: args.top], best[solves], *(row[0] for row in own)}
        runs[solves] = measured(
            table if solves == "cold" else [row for row in table if row[0] in kept], test, solves, bar, done
        )
    bar.close()
    base = runs["cold"][DEFAULT]
    print(f"{len(test)} instances; best law on the validation runs: " + ", ".join(f"{k}: {v}" for k, v in best.items()))
    columns = [*((kind, "default") for kind in KINDS), ("cold", "best"), ("warm, even", "best")]
    head = ["controller", *(f"{kind} / {other}" for kind, other in columns)]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name in sorted(runs["cold"], key=lambda name: work_ratio(runs["cold"][name], base, levels).figure.ratio):
        row: dict[str, Any] = {}
        for kind, found in runs.items():
            if name not in found:
                continue
            for label, other in (("default", base), ("best", found[best[kind]])):
                figure = work_ratio(found[name], other, levels).figure
                row[f"{kind} / {label}"] = [figure.ratio, figure.low, figure.high]
        result["rows"][name] = row
        ratios = (row.get(f"{kind} / {other}") for kind, other in columns)
        figures = ["" if found is None else "{:.3f} [{:.3f}, {:.3f}]".format(*found) for found in ratios]
        print(f"| {name} | " + " | ".join(figures) + " |")
    result["best"] = best
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
