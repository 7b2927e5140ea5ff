"""What a caller has made is exported as what ships: own controllers, features, actions, and broken networks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from exported import BLOCK, answers, drawn, ulps
from exported_c import EXOTIC, compiled, played, slots_of
from stepsmith.controllers import export
from stepsmith.controllers.learned import actions, features
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR, N_HEAD, Lane
from stepsmith.integrators.core.formulas import formula, log, maximum, minimum, where

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


class Own:
    """A controller that somebody wrote against the contract: the factor is E^(-1/k), and it counts its attempts."""

    name, key, params, n_state = "own one", ("own one",), np.array([0.25]), N_HEAD + 1

    def __init__(self, decide):
        self.phases = (Lane(decide),)

    @staticmethod
    def init(params, state):
        for i in range(N_HEAD + 1):
            state[i] = 0.0


@formula
def own_decide(params, state, record, out):
    out[ACCEPT] = where((record[rec.ERR] <= 1.0) & (record[rec.FINITE] != 0.0), 1.0, 0.0)
    count = state[N_HEAD] + 1.0
    out[LOG_FACTOR] = minimum(maximum(-params[0] * log(record[rec.ERR]), -2.0), 2.0) / count
    state[N_HEAD] = count


def branching(params, state, record, out):
    out[ACCEPT] = 1.0 if record[rec.ERR] <= 1.0 else 0.0


def in_numpy(params, state, record, out):
    out[LOG_FACTOR] = np.log(record[rec.ERR])


def in_math(params, state, record, out):
    out[LOG_FACTOR] = float(record[rec.ERR])


def test_a_callers_own_controller(tmp_path):
    rows = drawn(400, 2)
    found = played(compiled(tmp_path, Own(own_decide)), "own", rows, BLOCK)
    wanted = answers(Own(own_decide), rows)
    assert np.array_equal(found[:, 0], wanted[:, 0]) and ulps(found[:, 1], wanted[:, 1]) <= 4.0


@pytest.mark.parametrize(
    ("decide", "what"), [(branching, "use where"), (in_numpy, "cannot be written down"), (in_math, "math.log")]
)
def test_a_formula_that_is_none_is_refused_in_one_line(decide, what):
    for to in (export.c_header, export.python_file):
        with pytest.raises(ValueError, match=what) as problem:
            to(Own(decide))
        assert "'own one'" in str(problem.value) and "\n" not in str(problem.value)
    with pytest.raises(TypeError, match="a controller is needed"):
        export.c_header(object())


@formula
def log_evaluations_of_this_test(state, record):
    """log of the attempt's right-hand sides, with the error's sine for good measure."""
    return log(record[rec.NF]) + 0.1 * minimum(record[rec.ERR], 3.0)


@formula
def bent_of_this_test(a, scale):
    """A size that bends."""
    return scale * a * (1.5 - 0.5 * a * a)


def test_features_and_actions_of_a_caller_are_formulas_too(tmp_path):
    features.register(log_evaluations_of_this_test, 0.0, 4.0, 1.0, 0.5)
    actions.register(bent_of_this_test, "size", 1.0)
    try:
        d = Decision(
            ("log_err", "log_evaluations_of_this_test"), "h211b", actions=("bent_of_this_test", "threshold")
        )  # fmt: skip
        one = Learned.random(d, hidden=(4,), rng=0, scale=2.0)
        rows = drawn(800, 5)
        found, wanted = played(compiled(tmp_path, one), "own", rows, BLOCK), answers(one, rows)
        assert "nf" in slots_of(export.c_header(one, "own"), "own")
        assert np.array_equal(found[:, [0, 2, 3]], wanted[:, [0, 2, 3]]) and ulps(found[:, 1], wanted[:, 1]) <= 4.0
    finally:
        del features.FEATURES["log_evaluations_of_this_test"], actions.ACTIONS["bent_of_this_test"]


def test_weights_that_are_no_numbers_fall_back_to_the_law(tmp_path):
    one = EXOTIC["silu"]
    weights = one.weights
    weights[3], weights[-1] = np.nan, np.inf
    one = one.with_weights(weights)
    rows = drawn(400, 9)
    found, wanted = played(compiled(tmp_path, one), "own", rows, BLOCK), answers(one, rows)
    assert wanted[:, 3].all() and np.array_equal(found[:, [0, 2, 3]], wanted[:, [0, 2, 3]])
    assert ulps(found[:, 1], wanted[:, 1]) <= 4.0
