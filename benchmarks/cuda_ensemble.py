"""Trajectories a second on a GPU beside one CPU thread: Lorenz, t in [0, 1], tolerance 1e-8, Tsit5 with PI34.

    python benchmarks/cuda_ensemble.py [--trajectories 100000] [--repeats 5] [--cpu-trajectories 10000]

GPU: wall time with the transfers to and from the device, the best of the repeats, compilation left out.  Where there is
no GPU it says what is missing and exits 0.  Exits 1 where a trajectory fails, or the median of the states differs from
the CPU's by more than 1e-8.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

import numpy as np
from figures.save import parsed

from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.problems.nonstiff import lorenz

TOL = 1e-8


def instances(count: int):
    """The family's instances, over unit time."""
    return dataclasses.replace(lorenz.sampler(np.random.default_rng(0), count), t1=np.ones(count))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=100_000, help="on the GPU (default 100000)")
    parser.add_argument("--cpu-trajectories", type=int, default=10_000, help="on one CPU thread (default 10000)")
    parser.add_argument("--repeats", type=int, default=5, help="runs, the best counts (default 5)")
    options = parsed(parser)
    if min(options.trajectories, options.cpu_trajectories, options.repeats) < 1:
        parser.error("counts must be at least 1")
    lack = cuda.missing()
    if lack is not None:
        print(f"the GPU ensemble is left out: {lack}")
        return 0
    law = registry.get("pi34")
    batch, few = instances(options.trajectories), instances(options.cpu_trajectories)
    gpu_time = cpu_time = np.inf
    for _ in range(options.repeats + 1):  # the first run warms the device up
        gpu = cuda.solve_ensemble(batch, "tsit5", law, TOL, TOL)
        gpu_time = min(gpu_time, gpu.stats.wall_s)
        start = time.process_time()
        cpu = solve_ensemble(few, "tsit5", law, TOL, TOL, threads=1)
        cpu_time = min(cpu_time, time.process_time() - start)
    same = cuda.solve_ensemble(few, "tsit5", law, TOL, TOL)
    difference = float(np.median(np.abs(same.y - cpu.y)))
    rates = len(batch) / gpu_time, len(few) / cpu_time
    print("| where | trajectories | million trajectories a second |\n|---|---|---|")
    print(
        f"| GPU, transfers included | {len(batch)} | {rates[0] / 1e6:.2f} |\n| one CPU thread | {len(few)} | "
        f"{rates[1] / 1e6:.2f} |"
    )
    print(f"median difference of the states {difference:.1e}; failed {int((~gpu.success).sum())}")
    return 0 if gpu.success.all() and difference <= 1e-8 else 1


if __name__ == "__main__":
    sys.exit(main())
