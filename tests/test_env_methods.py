"""Methods that are no plain Runge-Kutta pair, in an environment: zero is the method's own solve."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.envs.ode import make_core


@pytest.mark.parametrize(
    ("method", "family"), [("rkc", "lotka_volterra"), ("dprkn6", "henon_heiles"), ("bdf", "lotka_volterra")]
)
def test_zero_takes_the_steps_of_the_ensemble_engine(method, family):
    core = make_core(4, True, family=family, method=method, law="i", baseline="i", pool_size=4, rtol=(1e-3, 1e-5))
    core.seed(np.arange(4, dtype=np.uint64))
    core.reset()
    still, found = np.zeros((4, core.decision.n_act), np.float32), []
    while len(found) < 4:
        found += [core.episode(int(lane)) for lane in core.ended[: core.step(still)].copy()]
    rows = np.array([int(e["instance"]) for e in found])
    rtol, batch = np.array([e["rtol"] for e in found]), core.pool.batch[rows]
    fam = core.pool.family
    sol = ss.solve_ensemble(
        batch, method, "i", rtol, (rtol * fam.atol_factor)[:, None], t_eval=batch.times(fam.fractions)
    )
    for name in ("nfev", "naccept", "nreject"):
        assert np.array_equal(getattr(sol.stats, name), [e[name] for e in found]), name
    assert min(e["naccept"] for e in found) > 10
