"""`stepsmith/Regularization-v0` with observe="spectrum": the growth of gradients and the spectral radius, by SciPy."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from scipy.integrate import solve_ivp

from stepsmith.envs.regularization import grid, instances, make_core, trainings
from stepsmith.envs.regularization.flow import FIELD
from stepsmith.envs.regularization.observe import observe


@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_spectrum_is_that_of_the_variational_equation(number):
    """By SciPy and NumPy: how much the solve stretches a random vector, and the eigenvalues at its ends."""
    work = trainings.Trainings(np.zeros((2, trainings.COUNT)))
    work.begin(np.arange(2), np.array([number, 5]))
    grid.off(work)
    work.train(6)
    work.prepare()
    work.probe()
    one, theta = instances.instance(number), work.theta[0].numpy()
    w1, b1, w2, b2 = np.split(theta[:FIELD], np.cumsum([16 * 13, 16, 12 * 16]))
    n, h = one.features, one.hidden
    w1, w2 = w1.reshape(16, 13)[:h, [*range(n), 12]], w2.reshape(12, 16)[:n, :h]

    def field(t, y):
        inner = np.tanh(w1 @ np.append(y, t) + b1[:h])
        slope, jac = w2 @ inner + b2[:n], (w2 * (1.0 - inner**2)) @ w1[:, :n]
        if one.bounded:
            slope = np.tanh(slope)
            jac = (1.0 - slope**2)[:, None] * jac
        return slope, jac

    def whole(t, z):
        slope, jac = field(t, z[:n])
        return np.concatenate([slope, (jac @ z[n:].reshape(n, n)).ravel()])

    rows = work.x[0][work._draw()[0]][:, :n]
    ends = [solve_ivp(whole, (0, 1), np.append(y, np.eye(n)), rtol=1e-8, atol=1e-8).y[:, -1] for y in rows]
    squares = np.mean([np.sum(z[n:] ** 2) / n for z in ends])
    assert work["growth"][0] == pytest.approx(0.5 * np.log(squares), abs=0.12)
    at = [(0.0, y) for y in rows] + [(1.0, z[:n]) for z in ends]
    radius = max(np.abs(np.linalg.eigvals(field(t, y)[1])).max() for t, y in at)
    assert work["radius"][0] == pytest.approx(radius, rel=0.35)
    assert abs(0.5 * np.log(squares)) > 0.02  # there is something to see


def test_the_spectrum_is_observed_where_it_is_asked_for():
    core, plain = (make_core(2, False, pool_size=3, actions=1, observe=o) for o in ("spectrum", "all"))
    for made in (core, plain):
        made.seed(np.arange(2, dtype=np.uint64))
        made.reset()
        made.step(np.zeros((2, 1)))
    assert core.obs.shape == (2, 20) and core.features[:18] == plain.features
    np.testing.assert_array_equal(core.obs[:, :18], plain.obs)  # the probe draws and changes nothing
    np.testing.assert_allclose(core.obs[:, 18], core.work["growth"], atol=1e-6)
    np.testing.assert_allclose(core.obs[:, 19], np.log10(core.work["radius"]), atol=1e-6)
    core.work["growth"][:] = np.nan  # of a solve that failed
    assert (observe(core.work, 20, core.features)[:, 18] == 5.0).all()
