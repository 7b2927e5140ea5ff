"""The conformance test of hosts: it agrees with the engine, and it sees an adapter that decides otherwise."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers import hosts
from stepsmith.controllers.laws import names
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR
from stepsmith.integrators.core.runner import Runner

ALL = frozenset(range(rec.N_RECORD))
#: what a host with an error estimate knows of its attempt
TIER0 = frozenset({rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.T_LEFT, rec.TRUNCATED, rec.FINITE, rec.RTOL})
CONTROLLERS = ["i", "pi34", "h211b", "h312pid", "pc11", "dopri5_pi", "three-body"]


class Honest:
    """An adapter that asks the `Runner`."""

    slots = TIER0

    def __init__(self, controller, lanes):
        self.runner = Runner(controller, lanes)

    def decide(self, record):
        out = self.runner.decide(record)
        return out[ACCEPT], out[LOG_FACTOR]


@pytest.fixture(scope="module")
def log():
    return hosts.recorded(ss.problems.make("arenstorf"), "dopri5", ss.controller("pi34"), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_the_reference_answers_as_the_compiled_loop_did(name):
    controller = ss.controller(name)
    log = hosts.recorded(ss.problems.make("arenstorf"), "tsit5" if name == "three-body" else "dopri5", controller)
    accept, log_factor = hosts.reference(controller, log.records, ALL)
    assert np.array_equal(accept[:, 0], log.accept)
    assert (log.accept == 0.0).any() or name == "three-body"
    np.testing.assert_allclose(log_factor[:, 0], log.log_factor, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(names()) - {"constant"} | {"three-body"}))
def test_an_honest_adapter_passes_with_the_slots_it_has(log, name):
    hosts.check(
        Honest, ss.controller(name) if name in CONTROLLERS else ss.controllers.resolve.controller(name), log.records
    )


def test_lanes_are_apart(log):
    three = np.stack([log.records, log.records[::-1], np.roll(log.records, 5, axis=0)], axis=1)
    hosts.check(Honest, ss.controller("h211b"), three)
    accept, factor = hosts.reference(ss.controller("h211b"), three, TIER0)
    one = hosts.reference(ss.controller("h211b"), three[:, 1], TIER0)
    assert np.array_equal(accept[:, 1], one[0][:, 0]) and np.allclose(factor[:, 1], one[1][:, 0], rtol=0, atol=1e-12)


class Forgetful(Honest):
    """Asks only where the attempt is accepted: the state misses the rejected ones."""

    def decide(self, record):
        if record[rec.ERR][0] > 1.0:
            return np.zeros(1), np.full(1, -0.5)
        return super().decide(record)


class Eager(Honest):
    def decide(self, record):
        accept, factor = super().decide(record)
        return np.ones_like(accept), factor


class Flat(Honest):
    def decide(self, record):
        accept, factor = super().decide(record)
        return accept[0], factor[0]


@pytest.mark.parametrize(("adapter", "what"), [(Forgetful, "log_factor"), (Eager, "accept"), (Flat, "shape")])
def test_an_adapter_that_decides_otherwise_is_seen(log, adapter, what):
    with pytest.raises(hosts.Difference, match=what):
        hosts.check(adapter, ss.controller("dopri5_pi"), log.records)


def test_what_is_no_adapter_or_no_record_is_refused(log):
    with pytest.raises(TypeError, match="slots and decide"):
        hosts.check(lambda controller, lanes: object(), ss.controller("i"), log.records)
    with pytest.raises(ValueError, match="records must have shape"):
        hosts.check(Honest, ss.controller("i"), log.records[:, :3])


def test_the_protocol():
    assert isinstance(Honest(ss.controller("i"), 1), hosts.Adapter)
    assert not isinstance(object(), hosts.Adapter)
