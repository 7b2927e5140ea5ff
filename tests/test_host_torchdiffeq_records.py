"""torchdiffeq as a host: what the controller is shown, and what it decides on records that were written down."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from torchdiffeq import odeint

import stepsmith as ss
from stepsmith.controllers import hosts
from stepsmith.controllers.hosts import torchdiffeq as host
from stepsmith.controllers.hosts.fitting import fit
from stepsmith.controllers.hosts.torchdiffeq_steps import Steered
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.engine.decisions import Decisions

importlib.import_module("torchdiffeq")
SOLVERS = sys.modules["torchdiffeq._impl.odeint"].SOLVERS
F64, PI = torch.float64, ss.controller("pi34")


def predator(t, y):
    return torch.stack([1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3.0 * y[1]])


@pytest.mark.filterwarnings("ignore:controller .* was trained")
def test_stages_and_norms_are_those_of_the_engine():
    """Slots of a learned controller on one step of known size, against this package's own solver in torch."""
    seen, own = [], Steered._seen

    def look(self, *step):
        seen.append(own(self, *step))
        return seen[-1]

    controller = ss.controller("three-body")
    y0, t = torch.tensor([10.0, 5.0], dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    method = controller.for_torchdiffeq("dopri5")
    Steered._seen = look
    try:
        odeint(predator, y0, t, method=method, rtol=1e-6, atol=1e-9, options={"first_step": 0.01})
    finally:
        Steered._seen = own
    problem = ss.Problem(_predator_in_place, y0.tolist(), (0.0, 1.0))
    engine = ss.solve(problem, "dopri5", ss.controller("pi34"), rtol=1e-6, atol=1e-9, first_step=0.01, log=True)
    row = engine.record[0]
    for slot in (rec.HS, rec.CURV):
        assert seen[0][slot] == pytest.approx(row[slot], rel=1e-6)
    # torchdiffeq's error weights are -2/3 of the engine's
    assert seen[0][rec.ERR] == pytest.approx(row[rec.ERR] * 2.0 / 3.0, rel=1e-3)
    assert seen[0][rec.ENORM] == pytest.approx(row[rec.ENORM], rel=1e-3)


def _predator_in_place(t, y, p, dy):
    dy[0] = 1.5 * y[0] - y[0] * y[1]
    dy[1] = y[0] * y[1] - 3.0 * y[1]


class Replayed:
    """A solver's decision on records that were written down."""

    slots = frozenset(range(rec.N_RECORD))

    def __init__(self, controller, lanes):
        assert lanes == 1
        fit(controller, "a host with every slot", self.slots)
        made = PI.for_torchdiffeq()
        self.solver = SOLVERS[made](
            func=type("Func", (), dict.fromkeys(("callback_step", "callback_accept_step", "callback_reject_step")))(),
            y0=torch.ones(1, dtype=F64), rtol=1e-6, atol=1e-9, norm=torch.linalg.vector_norm,
        )  # fmt: skip
        self.solver.solve, self.solver.sign, self.solver.rejected = host.Solve(False), 1.0, 0
        self.solver.asked = Decisions(controller)

    def decide(self, record):
        seen = {slot: float(value[0]) for slot, value in enumerate(record)}
        accept, factor = self.solver._decide(seen, seen[rec.H], 0.0)
        return np.array([float(accept)]), np.log([factor])


@pytest.mark.parametrize("name", ["pi34", "h211b", "predictive", "three-body"])
def test_the_decision_is_that_of_the_engine_on_its_records(name):
    controller = ss.controller(name)
    log = hosts.recorded(ss.problems.make("arenstorf"), "tsit5" if name == "three-body" else "dopri5", controller)
    hosts.check(Replayed, controller, log.records, tolerance=4e-15)  # exp and log of a factor round once each
    assert len(log.records) > 100
