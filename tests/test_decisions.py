"""The compiled single decision against the same formulas in NumPy, on drawn attempts and faults."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.engine.decisions import Batched, Decisions


def attempts(n=400):
    rng = np.random.default_rng(7)
    for k in range(n):
        seen = {
            rec.ERR: 10.0 ** rng.uniform(-4, 1.5), rec.H: 10.0 ** rng.uniform(-4, 0), rec.ORDER: 5.0,
            rec.FINITE: 1.0, rec.TRUNCATED: float(k % 17 == 0), rec.RTOL: 1e-6, rec.T_LEFT: rng.uniform(0.0, 3.0),
            rec.SPAN: 3.0, rec.HS: 10.0 ** rng.uniform(-2, 1), rec.CURV: rng.uniform(0, 1), rec.YNORM: 1e5,
            rec.ENORM: rng.uniform(1, 5), rec.NEWTON_ITERS: float(rng.integers(1, 6)), rec.NEWTON_RATE: rng.uniform(),
        }  # fmt: skip
        seen[rec.H_FREE] = seen[rec.H] * (1.5 if k % 17 == 0 else 1.0)
        if k % 23 == 0:
            seen[rec.ERR], seen[rec.FINITE] = (np.nan, 0.0) if k % 46 else (np.inf, 0.0)
        if k % 29 == 0:
            del seen[rec.T_LEFT]
        yield seen


def large():
    layers = [(np.random.default_rng(i).normal(0, 0.2, s), np.zeros(s[0]), a) for i, (s, a) in enumerate(
        [((24, 9), "silu"), ((24, 24), "leaky_relu(0.05)"), ((2, 24), "linear")]
    )]  # fmt: skip
    names = ("log_err", "log_err_1", "log_ratio_1", "streak", "order", "log_tol", "log_left", "log_ynorm", "log_hs")
    return Learned(Decision(names, "h211b"), layers, "tanh")


CONTROLLERS = ["pi34", "h211b", "predictive", "scipy", "three-body", "kuramoto", "hires", "large"]


@pytest.mark.parametrize("name", CONTROLLERS)
def test_against_numpy(name):
    controller = large() if name == "large" else ss.controller(name)
    compiled, plain = Decisions(controller), Runner(controller, 1)
    rejected = 0
    for seen in attempts():
        row = [np.array([seen.get(slot, np.nan)]) for slot in range(rec.N_RECORD)]
        got, want = compiled(seen), np.array(plain.decide(row))[:, 0]
        assert got[0] == want[0] and got[2:].tolist() == want[2:].tolist()
        assert abs(got[1] - want[1]) <= 8.0 * np.spacing(max(1.0, abs(want[1])))
        rejected += got[0] < 0.5
    assert 10 < rejected < 390


def test_solves_do_not_share_a_state_and_a_structure_is_compiled_once():
    a, b = Decisions(ss.controller("pi34")), Decisions(ss.controller("pi34").replace(safety=0.8))
    seen = next(iter(attempts(2)))
    first = a(seen)[1]
    for other in attempts(20):
        b(other)
    assert Decisions(ss.controller("pi34"))(seen)[1] == first
    assert a._decide is b._decide


def test_first_sizes_and_what_is_no_controller():
    from stepsmith.controllers.laws import registry

    assert Decisions(registry.get("constant", h=0.25)).first(3.0) == 0.25
    assert Decisions(ss.controller("pi34")).first(3.0) == 3.0
    with pytest.raises(TypeError, match="lacks name, key"):
        Decisions(type("Half", (), {"params": np.zeros(1), "n_state": 6, "phases": (), "init": None})())


@pytest.mark.parametrize("name", ["pi34", "three-body", "large"])
def test_a_batch_decides_row_by_row(name):
    controller = large() if name == "large" else ss.controller(name)
    rows, batch = [Decisions(controller) for _ in range(5)], Batched(controller)
    states = np.zeros((5, controller.n_state))
    drawn = list(attempts(100))
    for k in range(0, 100, 5):
        records = np.array([[seen.get(slot, np.nan) for slot in range(rec.N_RECORD)] for seen in drawn[k : k + 5]])
        before = states.copy()
        outs, after = batch(states, records)
        assert states.tolist() == before.tolist()
        states = after
        for i in range(5):
            assert outs[i].tolist() == rows[i](drawn[k + i]).tolist()
