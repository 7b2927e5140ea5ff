"""Controllers during the training of neural ODEs, at matched error: the fields that training runs met, cold and warm.

    python benchmarks/neural_controllers.py RUN [RUN ...] --validation RUN [RUN ...] [-c FILE ...] [--batch 64] [--batches 1] [--out FILE]

A RUN is a folder of `stepsmith train` that keeps weights ([train] keep = [...]); an instance is kept weights and a batch of test
(validation) subjects.  The law that others are measured against is chosen on the validation runs.  Rows: every published law, torchdiffeq's
default (dopri5 under its law; everything else is tsit5), the law tuned on the compiled family `neural_field`, the zoo's `neural-field`, and
files given with -c.  Warm: the solve begins with the step that suited another batch of the same weights; of the published laws, the --warm
best on the validation runs, warm ones.  One task at a time: tolerances that match an error belong to a task.  Weights of one run are
not independent: intervals resample instances, and say little with few runs.

Columns: f-evaluations over torchdiffeq's default (cold) and over the best law (cold against cold, warm against warm); and the
tolerance at which the geometric mean of the errors is that of torchdiffeq's default at 1e-3, 1e-5 and 1e-8.
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

import stepsmith as ss
from stepsmith.controllers import registry, resolve
from stepsmith.integrators import record as rec
from stepsmith.integrators.neural.api import FILLS
from stepsmith.train.contestants import HOSTS
from stepsmith.train.headline import choose_denominator
from stepsmith.train.metric import Runs, work_ratio
from stepsmith.train.neural_tasks import fields
from stepsmith.train.progress import Progress
from stepsmith.train.provenance import provenance

DEFAULT = "torchdiffeq's default"
TARGETS = (1e-3, 1e-5, 1e-8)


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


def measured(table: list, instances: list, warm: bool, bar: Progress, done: list[int]) -> dict[str, Runs]:
    """Runs of every contestant."""
    out = {}
    for name, kind, controller, method in table:
        s = fields.FieldSplit(fields.FieldBand("fields"), method, 0, instances, warm).sweep(controller)
        out[name] = Runs(name, s.err, {"nfev": s.nfev, "work": s.work}, np.array(fields.TOLERANCES), s.attempts, s.rejected, kind)
        done[0] += 1
        bar.update(done[0])
    return out


def tolerance_at(runs: Runs, error: float) -> float:
    """The loosest tolerance at and below which the geometric mean of the errors is at most `error`, interpolated; NaN out of reach."""
    log_err, log_tol = np.log(runs.err).mean(0), np.log(np.array(fields.TOLERANCES))
    if not np.isfinite(error) or log_err[0] < np.log(error):
        return float("nan")
    above = np.flatnonzero(log_err > np.log(error))
    k = int(above[-1]) + 1 if above.size else 0
    if k == len(log_tol):
        return float("nan")
    if k == 0:
        return float(np.exp(log_tol[0]))
    share = (np.log(error) - log_err[k]) / (log_err[k - 1] - log_err[k])
    return float(np.exp(log_tol[k] + share * (log_tol[k - 1] - log_tol[k])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--validation", nargs="+", type=Path, required=True)
    parser.add_argument("-c", "--controller", action="append", default=[])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--warm", type=int, default=6)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = contestants(args.controller)
    laws = [row for row in table if row[1] in ("classical", "tuned")]
    if len({i.rsplit("-s", 1)[0] for i in (fields.run_name(run) for run in (*args.runs, *args.validation))}) > 1:
        parser.error("the runs are of several tasks: compare one at a time")
    test = [i for run in args.runs for i in fields.instances(run, "test", args.batch, args.batches)]
    valid = [i for run in args.validation for i in fields.instances(run, "validation", args.batch, 1)]
    bar, done = Progress("sweeps", 2 * (len(laws) + len(table)), "controllers", True), [0]
    levels = fields.FieldBand("fields").error_levels
    result: dict[str, Any] = {"instances": len(test), "validation": len(valid), "batch": args.batch, "rows": {}, **provenance()}
    best, runs, chosen = {}, {}, table
    for state in ("cold", "warm"):
        on_valid = measured(laws, valid, state == "warm", bar, done)
        best[state], ratios = choose_denominator(list(on_valid.values()), levels)
        if state == "warm":
            published = sorted((row[0] for row in table if row[1] == "classical"), key=lambda name: ratios[name])
            chosen = [row for row in table if row[1] != "classical" or row[0] in (*published[: args.warm], best["warm"])]
        runs[state] = measured(chosen, test, state == "warm", bar, done)
    bar.close()
    base = runs["cold"][DEFAULT]
    grid = np.log(np.array(fields.TOLERANCES))[::-1]
    errors = [float(np.exp(np.interp(np.log(t), grid, np.log(base.err).mean(0)[::-1]))) for t in TARGETS]
    print(f"{len(test)} instances; best law on the validation runs: cold {best['cold']}, warm {best['warm']}")
    print("errors of torchdiffeq's default at 1e-3, 1e-5, 1e-8: " + ", ".join(f"{e:.1e}" for e in errors))
    head = ("controller", "cold / default", "cold / best", "warm / default", "warm / best warm", "tolerances cold", "tolerances warm")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    lines = []
    for name in runs["cold"]:
        row: dict[str, Any] = {}
        for state in ("cold", "warm"):
            if name not in runs[state]:
                continue
            for label, other in (("default", base), ("best", runs[state][best[state]])):
                found = work_ratio(runs[state][name], other, levels)
                row[f"{state}_{label}"] = [found.figure.ratio, found.figure.low, found.figure.high]
            row[f"{state}_tolerances"] = [tolerance_at(runs[state][name], e) for e in errors]
        result["rows"][name] = row
        lines.append((row["cold_best"][0], name, row))
    for _, name, row in sorted(lines, key=lambda line: line[0]):
        ratios = (row.get(f"{state}_{label}") for state in ("cold", "warm") for label in ("default", "best"))
        figures = ["" if found is None else "{:.3f} [{:.3f}, {:.3f}]".format(*found) for found in ratios]
        tols = [", ".join(f"{t:.1e}" for t in row.get(k, ())) for k in ("cold_tolerances", "warm_tolerances")]
        print(f"| {name} | " + " | ".join([*figures, *tols]) + " |")
    result |= {"best": best, "errors": errors}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
