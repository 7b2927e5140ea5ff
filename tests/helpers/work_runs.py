"""Made-up runs whose work follows a power law of the error, so that every ratio of work is known."""

import numpy as np

from stepsmith.train.evaluate import curves
from stepsmith.train.evaluate.metric import Runs

LEVELS = curves.error_levels(1e-3, 1e-7)
TOL = np.geomspace(1e-1, 1e-9, 17)


def power_law(cost=1.0, order=5.0, err=None, n=40, seed=0):
    """work = cost * err^(-1/order): straight in log-log, so every interpolation is exact; each (n, T)."""
    scale = np.exp(np.random.default_rng(seed).normal(0, 1, (n, 1)))  # per-instance difficulty
    e = TOL * np.ones((n, 1)) if err is None else err * np.ones((n, 1))
    return e, 100 * scale * np.broadcast_to(np.asarray(cost, float), (n,))[:, None] * e ** (-1 / order)


def runs(name="a", kind="classical", extra=None, **kw):
    e, w = power_law(**kw)
    return Runs(name, e, {"nfev": w, **(extra or {})}, tol=TOL, kind=kind)
