"""How bold the first step may be: work at equal error by the factor of the automatic size.

    python benchmarks/first_step.py --folder runs/twenty [--methods dopri5 tsit5]

The fields are those of `twenty/fields.py` whose solves take few steps.  Each is solved under torchdiffeq's law with
even steps at rtol = atol = 1e-2 ... 1e-8, the first step being 1 to 12 times the automatic one.  The table has work at
equal error over that of the factor 1, and the rejected attempts of all solves.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from equal_tolerance import equal_error, error, reference
from figures.save import parsed
from twenty.fields import cases

import stepsmith as ss
from stepsmith.integrators.neural import checks

FACTORS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
FIELDS = [
    "tanh 2-64-2", "softplus 16-64-16", "elu 32-128-32", "gru 16", "trained: moons", "trained: annuli",
    "trained: digits", "trained: flow", "trained: latent",
]  # fmt: skip
TOLERANCES = 10.0 ** -(2.0 + np.arange(25) / 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where fields and references are kept")
    parser.add_argument("--methods", nargs="+", default=["dopri5"])
    args = parsed(parser)
    torch.set_num_threads(1)
    print("| method | factor | work at equal error | worst field | rejected |\n|" + "---|" * 5)
    for method in args.methods:
        curves: dict[float, list[np.ndarray]] = {}
        for factor in FACTORS:
            checks.BOLD, rejected = factor, 0
            for case in cases(args.folder, FIELDS):
                truth, rows = reference(case, args.folder), []
                for tol in TOLERANCES:
                    with torch.no_grad():
                        sol = ss.neural.odeint(
                            case.field.double(), case.y0.double(), case.t.double(), method, "torchdiffeq", tol, tol,
                            per_sample=False, heuristics=False, even_steps=True, first_step="bold",
                        )  # fmt: skip
                    rows.append((tol, sol.stats.nfev, error(sol.y, truth)))
                    rejected += sol.stats.nreject
                curves.setdefault(factor, []).append(np.array(rows))
            ratios = [equal_error(a, b) for a, b in zip(curves[1.0], curves[factor], strict=True)]
            print(f"| {method} | {factor:g} | {np.exp(np.mean(ratios)):.3f} | {np.exp(max(ratios)):.3f} | {rejected} |")


if __name__ == "__main__":
    main()
