"""Steps a second and core of the N-body methods, three bodies, through `solve_ensemble` on one thread.

    python benchmarks/hermite_speed.py [--lanes 1024] [--repeats 3] [--max-steps 25000]

Perturbed figure eights (standard deviation .001), 20 time units: every instance takes about as many steps, so the
figure is that of the kernel.  `three_body` is the family of the comparisons, where now and then one close encounter
takes a hundred times the steps of the others and runs on alone in its block: what is left of an instance after
`--max-steps` attempts is left out, and the last column counts these instances (0 leaves nothing out, and takes
minutes).  CPU time, best of the repeats.  Exits non-zero if Hermite PEC stays below 15 million on the figure eights.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from figures.save import parsed

from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.kernels.layout import MAX_STEPS
from stepsmith.integrators.problems.nbody import three_body
from stepsmith.integrators.problems.problem import Batch

TARGET = 15.0
RUNS = (
    ("hermite4_pec", "constant", {"h": 1e-3}), ("hermite4_pec", "amuse", {"mu": 0.01}),
    ("hermite4_pec", "aarseth", {"eta": 1e-4}),
    ("hermite4", "amuse", {"mu": 0.01}), ("leapfrog", "constant", {"h": 1e-3}),
    ("composition8", "constant", {"h": 1e-2}),
)  # fmt: skip


def eights(count: int) -> Batch:
    """Perturbed figure eights."""
    base = three_body.published()
    y0 = base.y0 + 1e-3 * np.random.default_rng(0).normal(size=(count, 12))
    return Batch(
        three_body.rhs,
        y0,
        np.tile(base.p, (count, 1)),
        np.zeros(count),
        np.full(count, 20.0),
        name="eights",
        nbody=(3, 2),
    )


def rate(
    batch: Batch, method: str, law: str, values: dict[str, float], repeats: int, max_steps: int
) -> tuple[float, int]:
    """Million steps a CPU-second, and instances that `max_steps` cut short."""
    best, steps, cut = np.inf, 0, 0
    for _ in range(repeats + 1):  # the first run compiles
        start = time.process_time()
        solution = solve_ensemble(batch, method, registry.get(law, **values), max_steps=max_steps, threads=1)
        best = min(best, time.process_time() - start)
        steps = int(solution.stats.naccept.sum() + solution.stats.nreject.sum())
        cut = int((solution.status == MAX_STEPS).sum())
    return steps / best / 1e6, cut


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, default=1024, help="instances (default 1024)")
    parser.add_argument("--repeats", type=int, default=3, help="runs a row, the best counts (default 3)")
    parser.add_argument(
        "--max-steps", type=int, default=25_000, help="attempts an instance, 0: no limit (default 25000)"
    )
    options = parsed(parser)
    if options.lanes < 1 or options.repeats < 1 or options.max_steps < 0:
        parser.error("--lanes and --repeats must be at least 1, --max-steps at least 0")
    limit = options.max_steps or 10_000_000
    regular, family = eights(options.lanes), three_body.sampler(np.random.default_rng(0), options.lanes)
    print(
        "| method | step | million steps a second and core: figure eights | three_body | of it cut short "
        "|\n|---|---|---|---|---|"
    )
    slow = []
    for method, law, values in RUNS:
        (a, short), (b, cut) = (rate(batch, method, law, values, options.repeats, limit) for batch in (regular, family))
        constants = ", ".join(f"{k}={v:g}" for k, v in values.items())
        row = f"| {method} | {law} {constants} | {a:.1f}{' (cut)' if short else ''} | {b:.1f} |"
        print(f"{row} {cut} of {options.lanes} |", flush=True)
        if method == "hermite4_pec" and law != "aarseth" and a < TARGET:
            slow.append(law)
    if slow:
        print(f"Hermite PEC below {TARGET:g} million steps a second: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
