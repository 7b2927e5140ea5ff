"""Tolerances at which controllers reach the error of torchdiffeq's default on the fields that training met.

    python benchmarks/neural_match.py RUN [RUN ...] -c pi34 -c "pi34, warm, even" -c law.json [--method tsit5]

RUN: as in `neural_controllers.py`, of one task; an instance is kept weights and a batch of *validation* subjects.  A
controller is a name or a file, followed by the kind of solves where it is not cold.  For torchdiffeq's default (dopri5
under its law, cold) at each `--at` the geometric mean of the errors over the instances is taken, errors below
1e-8 counting as that; the answer is the loosest tolerance from which on a controller's mean is no larger, interpolated,
and in brackets the f-evaluations there.  At loose tolerances the automatic first step alone makes a short solve
accurate: there is then no tolerance that is as inaccurate (nan).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.train.neural import fields

LOG_TOL = np.log(np.array(fields.TOLERANCES))


def curves(
    instances: list, controller: Any, method: str, warm: bool = False, even: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) logarithms of the mean errors, and mean f-evaluations, over the instances at every tolerance."""
    split = fields.FieldSplit(fields.FieldBand("fields"), method, 0, instances, warm, even, whole=False)
    found = split.sweep(controller)
    return np.log(np.maximum(found.err, fields.LEVELS[0])).mean(0), found.work.mean(0)


def at(tolerance: float, values: np.ndarray) -> float:
    """(K,) values at the tolerances, interpolated."""
    return float(np.interp(np.log(tolerance), LOG_TOL[::-1], values[::-1]))


def tolerance_at(log_err: np.ndarray, wanted: float) -> float:
    """The loosest tolerance from which on `log_err` is at most `wanted`, interpolated; NaN where all are below, or the
    tightest above.
    """
    above = np.flatnonzero(log_err > wanted)
    if not np.isfinite(wanted) or not above.size or above[-1] + 1 == len(log_err):
        return float("nan")
    k = int(above[-1]) + 1
    share = (wanted - log_err[k]) / (log_err[k - 1] - log_err[k])
    return float(np.exp(LOG_TOL[k] + share * (LOG_TOL[k - 1] - LOG_TOL[k])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-c", "--controller", action="append", required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1, help="of the subjects")
    parser.add_argument("--method", default="tsit5")
    parser.add_argument(
        "--at", nargs="+", type=float, default=[1e-5, 1e-6, 1e-7], help="tolerances of torchdiffeq's default"
    )
    args = parsed(parser)
    torch.set_num_threads(1)
    instances = [i for run in args.runs for i in fields.instances(run, "validation", args.batch, 1, args.seed)]
    base, work = curves(instances, registry.get("torchdiffeq"), "dopri5")
    wanted = [at(t, base) for t in args.at]
    print("| controller | " + " | ".join(f"default at {t:g}" for t in args.at) + " |\n|" + "---|" * (len(args.at) + 1))
    print("| its error | " + " | ".join(f"{np.exp(w):.1e}" for w in wanted) + " |")
    print("| its f-evaluations | " + " | ".join(f"{at(t, work):.1f}" for t in args.at) + " |")
    for text in args.controller:
        name, *kind = (part.strip() for part in text.split(","))
        if not set(kind) <= {"warm", "even"}:
            parser.error(f"{text!r}: what follows a controller is warm, even or both")
        found, work = curves(instances, ss.controller(name), args.method, "warm" in kind, "even" in kind)
        tols = [tolerance_at(found, w) for w in wanted]
        print(f"| {text} | " + " | ".join(f"{t:.2e} ({at(t, work):.1f})" for t in tols) + " |")


if __name__ == "__main__":
    main()
