"""What a bound on the accepted error estimate does to laws that accept by their factor (PETSc's rules), at matched
error.

    python benchmarks/accept_bound.py [--families three_body lorenz] [--n 100]

On validation instances, at every third error level of the family: the least work of a law among the tolerances whose
error is at most that level, rejected attempts included; with the bound over without any, geometric mean over instances
and levels that both reach.  In brackets, how many instances and levels each of the two does not reach.
"""

from __future__ import annotations

import argparse

import numpy as np

from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.table import LAWS
from stepsmith.integrators import problems
from stepsmith.integrators.engine.measure import sweep

BOUNDS = (50.0, 10.0, 4.0)


def work(family, batch, states, law, grid):
    """Least work (levels, instances), inf where no tolerance of the grid reaches the level."""
    err, spent = sweep(family, batch, states, family.method, law, grid, max_steps=20_000)
    return np.array([np.where(err <= level, spent, np.inf).min(axis=1) for level in family.error_levels[::3]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=["three_body", "lorenz"])
    parser.add_argument("--n", type=int, default=100, help="validation instances")
    args = parser.parse_args()
    print(f"{'family':12} {'law':10} " + " ".join(f"{'E <= ' + format(b, 'g'):>18}" for b in BOUNDS))
    for name in args.families:
        family = problems.family(name)
        batch = family.split("validation", args.n)
        ref = family.reference(batch)
        batch, states = batch[np.flatnonzero(ref.ok)], ref.y[ref.ok]
        grid = np.array(family.tolerances)[::2]
        for law in (law for law, row in LAWS.items() if row[0] == "petsc"):
            free = work(family, batch, states, registry.get(law, accept_err=np.inf, reject_own=1.0), grid)
            cells = []
            for bound in BOUNDS:
                held = work(family, batch, states, registry.get(law, accept_err=bound), grid)
                both = np.isfinite(held) & np.isfinite(free)
                ratio = np.exp(np.log(held[both] / free[both]).mean())
                cells.append(f"{ratio:.3f} ({np.isinf(held).sum()}, {np.isinf(free).sum()})")
            print(f"{name:12} {law:10} " + " ".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
