"""Tolerances at which controllers reach the error of torchdiffeq's default on the fields that training met.

    python benchmarks/neural_match.py RUN [RUN ...] -c pi34 -c "pi34, warm, even" -c law.json [--batch 16]

RUN: as in `neural_controllers.py`, of one task; an instance is kept weights and a batch of *validation* subjects.  A
controller is a name or a file, followed by the kind of solves where it is not cold.  For torchdiffeq's default (dopri5
under its law, cold) at 1e-5, 1e-6 and 1e-7 the geometric mean of the errors over the instances is taken, errors below
1e-8 counting as that; the answer is the loosest tolerance from which on a controller's mean is no larger, interpolated.
At loose tolerances the automatic first step alone makes a short solve accurate: there is then no tolerance that is as
inaccurate (nan).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.train.neural import fields

TARGETS = (1e-5, 1e-6, 1e-7)
LOG_TOL = np.log(np.array(fields.TOLERANCES))


def log_errors(instances: list, controller: Any, method: str, warm: bool = False, even: bool = False) -> np.ndarray:
    """(K,) mean over the instances at every tolerance."""
    found = fields.FieldSplit(fields.FieldBand("fields"), method, 0, instances, warm, even, whole=False).sweep(
        controller
    )
    return np.log(np.maximum(found.err, fields.LEVELS[0])).mean(0)


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
    args = parser.parse_args()
    torch.set_num_threads(1)
    instances = [i for run in args.runs for i in fields.instances(run, "validation", args.batch, 1, args.seed)]
    base = log_errors(instances, registry.get("torchdiffeq"), "dopri5")
    wanted = [float(np.interp(np.log(t), LOG_TOL[::-1], base[::-1])) for t in TARGETS]
    print("| controller | " + " | ".join(f"default at {t:g}" for t in TARGETS) + " |\n|" + "---|" * (len(TARGETS) + 1))
    print("| its error | " + " | ".join(f"{np.exp(w):.1e}" for w in wanted) + " |")
    for text in args.controller:
        name, *kind = (part.strip() for part in text.split(","))
        if not set(kind) <= {"warm", "even"}:
            parser.error(f"{text!r}: what follows a controller is warm, even or both")
        found = log_errors(instances, ss.controller(name), "tsit5", "warm" in kind, "even" in kind)
        print(f"| {text} | " + " | ".join(f"{tolerance_at(found, w):.2e}" for w in wanted) + " |")


if __name__ == "__main__":
    main()
