"""A law driven by hand, one attempt record at a time."""

import math

import numpy as np

from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR, N_OUT


def row(err, h=0.1, order=5.0, **slots):
    r = np.full(R.N_RECORD, np.nan)
    r[[R.ERR, R.H, R.H_FREE, R.ORDER, R.TRUNCATED, R.FINITE]] = err, h, h, order, 0.0, 1.0
    for name, value in slots.items():
        r[R.NAMES.index(name)] = value
    return r


class Driver:
    """A law and its state, one record at a time."""

    def __init__(self, law):
        self.law, self.params = law, law.params
        self.state, self.out = np.zeros(law.n_state), np.zeros(N_OUT)
        law.init(self.params, self.state)

    def __call__(self, err, h=0.1, order=5.0, **slots):
        """(accepted, factor)"""
        self.law.phases[0].fn(self.params, self.state, row(err, h, order, **slots), self.out)
        return bool(self.out[ACCEPT]), math.exp(self.out[LOG_FACTOR])
