"""Decisions of a controller on random records, in NumPy and compiled, for tests that compare the two."""

import numpy as np

from stepsmith.integrators.compile.cache import load_module
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import N_OUT
from stepsmith.integrators.kernels import blocks, build

HEAD = """from numba import njit as _njit
from stepsmith.integrators.compile.lanes import view
from stepsmith.integrators.compile.vecmath import tanh, where
W = {0}
R = 0
CS = {1}
CO = {2}
"""
DRIVER = "@_njit(error_model='numpy')\ndef run(A, params):\n    decide(A, params)\n"


def records(seed, lanes, n=25):
    """(n, N_RECORD, lanes): all slots filled, and every tenth attempt hurt."""
    rng = np.random.default_rng(seed)
    r = 10.0 ** rng.uniform(-3, 0.5, (n, R.N_RECORD, lanes))
    r[:, R.T_LEFT] = r[:, R.H] * 10.0 ** rng.uniform(0, 3, (n, lanes))
    r[:, R.RTOL] = 10.0 ** rng.uniform(-9, -2, (n, lanes))
    r[:, R.ORDER] = 5.0
    r[:, R.TRUNCATED] = rng.random((n, lanes)) < 0.1
    r[:, R.FINITE] = rng.random((n, lanes)) > 0.05
    r[:, R.H_FREE] = r[:, R.H] * (1.0 + r[:, R.TRUNCATED])
    hurt = rng.random((n, lanes)) < 0.1
    r[:, R.ERR][hurt] = rng.choice([0.0, np.nan, np.inf], hurt.sum())
    r[:, R.NEWTON_ITERS : R.LU_AGE + 1] = np.nan
    return r


def play_numpy(c, recs):
    state = np.ones((c.n_state, recs.shape[2]))
    c.init(c.params, state)
    return np.array([c.decide_numpy(state, r) for r in recs]), state


def play_compiled(c, recs):
    """A kernel of the decision alone, over a block of record | state | answer rows."""
    lanes = recs.shape[2]
    cs, co = R.N_RECORD, R.N_RECORD + c.n_state
    objects = {}
    phases = build.phase_list(c.phases, objects, c.n_state)
    source = (
        HEAD.format(lanes, cs * lanes, co * lanes) + blocks.decide_source(phases, R.N_RECORD, c.n_state, N_OUT) + DRIVER
    )
    run = load_module(source.replace("WIDTH", str(lanes)), objects).run
    block = build.aligned((co + N_OUT) * lanes)
    rows, answers = block.reshape(-1, lanes), []
    rows[cs:co] = 1.0
    c.init(c.params, rows[cs:co])
    for r in recs:
        rows[:cs] = r
        run(block, c.params)
        answers.append(rows[co:].copy())
    return np.array(answers), rows[cs:co].copy()
