"""The conformance kit: it passes an adapter that asks the engine's controller, and sees what one does wrong."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith import testing
from stepsmith.controllers.hosts.fitting import ENDS, NORMS, STAGES, TIER0
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR
from stepsmith.integrators.core.runner import Runner


class Honest:
    slots = TIER0 | NORMS | ENDS | STAGES

    def __init__(self, controller, lanes):
        self.runner = Runner(controller, lanes)

    def decide(self, record):
        out = self.runner.decide(record)
        return out[ACCEPT].copy(), out[LOG_FACTOR].copy()


def test_an_honest_adapter_passes_everything():
    rows = testing.conformance(Honest)
    assert len(rows) == 40 and {row.problem for row in rows} == set(testing.FAMILIES)
    assert all(row.attempts > 20 and row.ulps == 0.0 for row in rows)
    assert sum(row.rejected for row in rows if row.problem == "vanderpol") > 10


def lazy_state(self, record):
    """Advances the lags at accepted attempts alone."""
    kept = [s.copy() for s in np.atleast_2d(self.runner.state)] if self.runner.lanes > 1 else list(self.runner.state)
    out = self.runner.decide(record)
    if not (out[ACCEPT] > 0.5).any():
        self.runner.state = kept
    return out[ACCEPT].copy(), out[LOG_FACTOR].copy()


def single_precision(self, record):
    out = self.runner.decide(record)
    return out[ACCEPT].copy(), out[LOG_FACTOR].astype(np.float32)


def accepts_all(self, record):
    out = self.runner.decide(record)
    return np.ones_like(out[ACCEPT]), out[LOG_FACTOR].copy()


@pytest.mark.parametrize("decide", [lazy_state, single_precision, accepts_all], ids=lambda f: f.__name__)
def test_what_is_wrong_is_seen(decide):
    wrong = type("Wrong", (Honest,), {"decide": decide})
    with pytest.raises(testing.Difference, match="attempt [0-9]+, lane [0-9]"):
        testing.conformance(wrong, controllers=("scipy",), families=("vanderpol",))


def test_an_adapter_that_lacks_a_slot_is_named():
    class Blind(Honest):
        slots = frozenset({rec.H})

    with pytest.raises(ValueError, match="the adapter cannot run controller 'pi34': it decides from err, order"):
        testing.conformance(Blind, controllers=(ss.controller("pi34"),))

    class NoStages(Honest):
        slots = TIER0 | NORMS | ENDS

    with pytest.raises(ValueError, match="features log_hs, .* need hs"):
        testing.conformance(NoStages, controllers="kuramoto")
