"""Constant accuracy parameter in the set-up of Saz Ulibarrena & Portegies Zwart (2025, arXiv:2502.12809), beside
reference values.

    python benchmarks/paper_table.py [--seeds 100] [--out FILE]

Three solar masses, 300 calls of .1 yr, Hermite PEC, step h = mu tau (AMUSE's criterion).  As AMUSE does it: a call
takes whole steps until its end time is passed (no landing on the mark), starts from a fresh evaluation, and a second
one closes it; the latter changes no step, so it is counted and not carried out.  The error is |E/E0 - 1| after the last
call.  Prints a Markdown table and exits non-zero if a median error is off by more than a factor 3 or a median step
count by more than 5 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from figures.save import parsed

from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.engine.solve import slots_of
from stepsmith.integrators.kernels.build import Kernel, aligned, build
from stepsmith.integrators.kernels.drivers import ARGS
from stepsmith.integrators.kernels.layout import N_STATS
from stepsmith.integrators.problems.nbody import three_body_paper
from stepsmith.integrators.problems.problem import Batch

CALLS, LENGTH, WIDTH = 300, 0.1, 32

#: mu, median |dE|, its 90 % quantile, median steps: an independent scalar implementation of the same set-up, two digits
REFERENCE = (
    (1e-1, 1.0e-3, 3e-2, 514),
    (10**-1.6667, 5.4e-7, 1.5e-5, 2389),
    (1e-2, 1.2e-8, 3.2e-7, 5148),
    (10**-2.3333, 3.4e-10, 6.9e-9, 11093),
    (10**-2.6667, 1.3e-11, 2.8e-9, 23.9e3),
    (1e-3, 9.6e-12, 2.3e-9, 51.5e3),
    (1e-4, 5.7e-11, 3.4e-7, 515e3),
)


def driver_source(wide: bool) -> str:
    """`run_calls(A, params, ..., marks, first, count, yend, stat)`: a block of lanes through all calls, `marks` their
    end times.
    """
    return f"""@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run_calls(A, params, {ARGS}, marks, first, count, yend, stat):
    {'wide_vectors()' if wide else 'pass'}
    for l in range(W):
        load(A, l, first + l if l < count else first, {ARGS})
    for q in range(marks.shape[0]):
        running = 0
        for l in range(W):
            live = l < count and (A[STATUS + l] == RUNNING or A[STATUS + l] == IDLE) and A[T + l] < marks[q]
            if A[STATUS + l] == RUNNING or A[STATUS + l] == IDLE:
                A[STATUS + l] = RUNNING if live else IDLE
                A[FRESH + l] = 1.0
            running += 1 if live else 0
        start_fresh(A, params)
        begin(A)
        while running > 0:
            attempt(A)
            decide(A, params)
            settle(A, tgrid, yout)
            running = 0
            for l in range(W):
                if A[STATUS + l] == RUNNING and A[T + l] >= marks[q]:
                    A[STATUS + l] = IDLE
                running += 1 if A[STATUS + l] == RUNNING else 0
    for l in range(count):
        A[INST + l] = first + l
        store(A, l, yend, stat)
"""


def paper_kernel(batch: Batch) -> Kernel:
    """Hermite PEC under AMUSE's criterion, driven call by call."""
    method, law = methods.get("hermite4_pec"), registry.get("amuse")
    return build(method.parts(batch, slots_of(law)), batch.n, batch.m, law, WIDTH, driver_source)


def run(kernel: Kernel, batch: Batch, mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Relative energy error and number of steps of every instance, (B,) each."""
    count, n = batch.y0.shape
    one = np.ones(count)
    yend, stat = np.empty((count, n)), np.empty((count, N_STATS))
    marks = LENGTH * np.arange(1, CALLS + 1)
    args = (
        batch.y0,
        batch.p,
        batch.t0,
        one * 1e9,
        one,
        np.ones((count, n)),
        one * np.nan,
        np.empty((1, 0)),
        np.empty((count, 0, n)),
        1e12,
    )
    params = registry.get("amuse", mu=mu).params
    for lo in range(0, count, WIDTH):
        block = aligned(kernel.layout.size)
        kernel.module.run_calls(block, params, *args, marks, lo, min(WIDTH, count - lo), yend, stat)
    e0 = batch.invariant("energy", batch.t0, batch.y0)
    e1 = batch.invariant("energy", stat[:, 4], yend)
    return np.abs(e1 / e0 - 1.0), stat[:, 1]


def table(seeds: int) -> tuple[str, bool]:
    """The Markdown table and whether every row agrees."""
    batch = three_body_paper.instances(range(seeds))
    kernel = paper_kernel(batch)
    lines = [
        "| mu | median abs dE | reference | q90 | reference | median steps | reference | agrees |",
        "|---|---|---|---|---|---|---|---|",
    ]
    fine = True
    for mu, de, q90, count in REFERENCE:
        error, taken = run(kernel, batch, mu)
        mid, n = float(np.median(error)), float(np.median(taken))
        good = de / 3 <= mid <= de * 3 and abs(n / count - 1) <= 0.05
        fine &= good
        tail = float(np.quantile(error, 0.9))
        cells = (
            f"{mu:.2g}",
            f"{mid:.2g}",
            f"{de:.2g}",
            f"{tail:.2g}",
            f"{q90:.2g}",
            f"{n:.0f}",
            f"{count:.0f}",
            "yes" if good else "NO",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Seeds 0 to {seeds - 1}, {CALLS} calls of {LENGTH} yr."]), fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="seeds 0, 1, ... (default 100)")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parsed(parser)
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    text, fine = table(options.seeds)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
