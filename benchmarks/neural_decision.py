"""What an attempt of the solver in torch costs besides func: microseconds, by lanes and controller.

    python benchmarks/neural_decision.py [--lanes 1 64 512]

A trivial field of four components, tsit5, float64, no gradient.  `decide`: the controller in NumPy
(`integrators/core/runner.py`).  `measure`: error, norms and their one transfer.  `record`: the attempt record.
`attempt`: a whole solve over its attempts, func and outputs included.  `compiled`: the same decision by
`stepsmith.integrators.engine.decisions`, and the share of its log-factors whose bits are those of `decide`.  Times are
CPU seconds of this process, the least of seven repeats, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.integrators.core.contract import LOG_FACTOR
from stepsmith.integrators.core.runner import Runner, slots_read
from stepsmith.integrators.engine.decisions import Batched
from stepsmith.integrators.methods.tableaus import get
from stepsmith.integrators.neural.estimates import measure
from stepsmith.integrators.neural.sizes import choose, record_of, resolved
from stepsmith.integrators.neural.step import Stepper

CONTROLLERS = ("pi34", "torchdiffeq", "universal_law", "neural-field", "universal")
METHOD, TOL = "tsit5", 1e-6


def microseconds(call: Callable[[], object], runs: int = 200, repeats: int = 7) -> float:
    """CPU time of a call, the least mean of several repeats."""
    call()
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        for _ in range(runs):
            call()
        best = min(best, (time.process_time() - began) / runs)
    return 1e6 * best


def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Something smooth that costs one operation."""
    return torch.cos(y)


def rows(lanes: int, name: str) -> list[float]:
    """What is measured for one number of lanes and one controller, in the order of the table's columns."""
    controller, tableau = ss.controller(name, None, METHOD), get(METHOD)
    y = torch.randn(lanes, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stepper = Stepper(tableau, field, lanes, 4, torch.float64, torch.device("cpu"))
    t, h, cost = np.zeros(lanes), np.full(lanes, 0.1), np.full(lanes, 6)
    step, slots = stepper.attempt(t, h, y, field(torch.zeros(lanes), y)), slots_read(controller)
    seen, sizes = measure(stepper, step, TOL, TOL, slots), choose(t, h, resolved(t), 1.0, 1.0, False)

    def recorded() -> list[np.ndarray]:
        return record_of(seen, sizes, tableau.embedded_order + 1, cost, TOL, 1.0)

    record, runner, batched = recorded(), Runner(controller, lanes), Batched(controller)
    table, states = np.stack(record, axis=1), np.stack([np.broadcast_to(s, lanes) for s in runner.state], axis=1)
    same = float(np.mean(batched(states, table)[0][:, LOG_FACTOR] == runner.decide(record)[LOG_FACTOR]))
    found = [
        microseconds(lambda: runner.decide(record)),
        microseconds(lambda: measure(stepper, step, TOL, TOL, slots)),
        microseconds(recorded),
    ]
    times, sol = torch.tensor([0.0, 3.0], dtype=torch.float64), None
    options = {"rtol": TOL, "atol": TOL, "adjoint": "none", "per_sample": True, "heuristics": False}

    def whole() -> None:
        nonlocal sol
        sol = ss.neural.odeint(field, y, times, METHOD, controller, **options)

    spent = microseconds(whole, runs=5)
    assert sol is not None
    found.append(spent / (sol.stats.nfev / 6.0))
    return [*found, microseconds(lambda: batched(states, table)), same]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 64, 512])
    args = parsed(parser)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print("| lanes | controller | decide | measure | record | attempt | compiled | same bits |")
    print("|---|---|---|---|---|---|---|---|")
    for lanes in args.lanes:
        for name in CONTROLLERS:
            *times, same = rows(lanes, name)
            print(f"| {lanes} | {name} | " + " | ".join(f"{x:.0f}" for x in times) + f" | {same:.2f} |", flush=True)


if __name__ == "__main__":
    main()
