"""`monitor`: exponents against SciPy's matrix exponential and published numbers, radii against eigenvalues, verdicts.
"""

import functools
import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import stepsmith as ss
from stepsmith.integrators.neural.spectrum import probes

F64 = torch.float64
monitor = ss.neural.monitor
TIGHT = {"method": "dop853", "rtol": 1e-11, "atol": 1e-13, "warn": False}

#: matrices, and how many iterations the radius takes for three digits
MATRICES = {
    "real": ([[-0.5, 0.3, 0.0], [0.0, 1.5, 0.2], [0.1, 0.0, 0.4]], 60),
    "complex": ([[0.2, -2.0, 0.0], [3.0, 0.1, 0.5], [0.0, 0.0, 0.7]], 4000),
    "nonnormal": ([[0.9, 30.0, 0.0], [0.0, 0.5, 30.0], [0.0, 0.0, 0.3]], 60),
    "opposite": ([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 60),
}


def linear(a):
    a = torch.tensor(a, dtype=F64)
    return lambda t, y: y @ a.T


def states(n=4, d=3, seed=1):
    return torch.randn(n, d, dtype=F64, generator=torch.Generator().manual_seed(seed))


def lorenz(t, y):
    x, v, z = y.unbind(-1)
    return torch.stack([10.0 * (v - x), x * (28.0 - z) - v, x * v - 8.0 / 3.0 * z], -1)


@functools.cache
def on_the_attractor(dtype=F64):
    start = states(8) + torch.tensor([0.0, 0.0, 25.0], dtype=F64)
    return ss.neural.odeint(lorenz, start, [0.0, 10.0], rtol=1e-4, atol=1e-4, adjoint="none").y[-1].to(dtype)


# -- exponents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_exponent_of_a_linear_field_is_that_of_the_matrix_exponential(name, vectors, backwards):
    a = np.array(MATRICES[name][0])
    t = [0.5, -1.5] if backwards else [0.5, 2.5]
    seen = monitor(linear(a), states(), t, vectors=vectors, times=5, **TIGHT)
    w = probes(None, (vectors, 4, 3), states()).numpy()
    pulled = np.linalg.norm(w @ expm(a * (t[1] - t[0])), axis=2)
    want = np.log(np.sqrt((pulled**2).mean(0))) / 2.0
    assert seen.exponent == pytest.approx(want, abs=1e-6)
    assert seen.log_growth == pytest.approx(2.0 * want, abs=2e-6) and seen.growth == pytest.approx(np.exp(2 * want))
    assert seen.ok.all() and not seen.explodes.any() and not seen.vanishes.any() and (seen.span == 2.0).all()


def test_a_time_dependent_field_is_followed_in_order():
    """Phi^T of intervals that do not commute."""
    a, b = np.array([[0.0, 1.0], [-2.0, 0.3]]), np.array([[0.5, 0.0], [1.0, -1.0]])
    at, bt = torch.tensor(a), torch.tensor(b)
    seen = monitor(lambda t, y: y @ at.T + t * (y @ bt.T), states(3, 2), [0.0, 2.0], times=6, **TIGHT)
    phi = solve_ivp(
        lambda t, m: ((a + t * b) @ m.reshape(2, 2)).ravel(), (0, 2), np.eye(2).ravel(), rtol=1e-12, atol=1e-13
    ).y[:, -1].reshape(2, 2)
    w = probes(None, (1, 3, 2), states()).numpy()[0]
    assert seen.exponent == pytest.approx(np.log(np.linalg.norm(w @ phi, axis=1)) / 2.0, abs=1e-6)


def test_an_oscillator_neither_grows_nor_decays_and_a_damped_one_decays_at_its_rate():
    turn, length = [[0.0, 1.0], [-1.0, 0.0]], 20.0
    assert monitor(linear(turn), states(4, 2), [0.0, length], **TIGHT).exponent == pytest.approx(0.0, abs=1e-8)
    damped = monitor(linear([[0.0, 1.0], [-1.0, -0.4]]), states(4, 2), [0.0, length], **TIGHT)
    # a matrix that is not normal: a factor of order one, over the span
    assert damped.exponent == pytest.approx(-0.2, abs=1.0 / length)


def test_the_exponent_of_the_lorenz_system_is_the_published_one():
    """.9056: J. C. Sprott, Chaos and Time-Series Analysis, Oxford 2003.  A mean over samples of a finite time."""
    seen = monitor(lorenz, on_the_attractor(), [0.0, 25.0], rtol=1e-5, atol=1e-7, times=4, iterations=1, warn=False)
    assert seen.exponent.mean() == pytest.approx(0.9056, rel=0.1)
    assert seen.exponent.min() > 0.6 and seen.exponent.max() < 1.2
    assert np.array_equal(seen.explodes, seen.segment < 25.0) and seen.explodes.mean() > 0.7
    assert seen.segment == pytest.approx(-0.5 * np.log(np.finfo(float).eps) / seen.exponent)


def test_a_limit_cycle_is_neutral():
    def van_der_pol(t, y):
        return torch.stack([y[..., 1], (1.0 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], -1)

    start = torch.tensor([[2.0, 0.0], [-1.0, 2.2]], dtype=F64)
    length = 60.0
    assert monitor(van_der_pol, start, [0.0, length], warn=False).exponent == pytest.approx(0.0, abs=3.0 / length)


def test_more_intervals_change_nothing():
    given = [monitor(linear(MATRICES["complex"][0]), states(), [0.0, 3.0], times=n, **TIGHT) for n in (2, 9)]
    assert given[0].exponent == pytest.approx(given[1].exponent, abs=1e-8)


@pytest.mark.parametrize("rate", [400.0, -400.0])
def test_a_cotangent_that_leaves_float32_is_cut_in_time(rate):
    """exp(400) is beyond float32: intervals are halved, and the other samples keep their numbers."""
    rates = torch.tensor([[rate], [0.5]])
    # at the state of rest, where steps of any size have no error: those of a grid
    seen = monitor(
        lambda t, y: rates * (y - 1.0), torch.ones(2, 1), [0.0, 1.0], times=2, method="rk4", step_size=2e-3, warn=False
    )
    assert seen.exponent == pytest.approx([rate, 0.5], rel=1e-2)
    assert seen.explodes.tolist() == [rate > 0, False] and seen.vanishes.tolist() == [rate < 0, False]
    assert seen.growth[1] == pytest.approx(np.exp(0.5), rel=1e-4)


# -- the radius -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATRICES)
def test_the_radius_is_the_largest_modulus_of_an_eigenvalue(name):
    a, iterations = MATRICES[name]
    seen = monitor(linear(a), states(2), [0.0, 1.0], times=2, iterations=iterations, warn=False)
    assert seen.radius == pytest.approx(abs(np.linalg.eigvals(a)).max(), rel=1e-3) and seen.radius.shape == (2, 2)


def test_the_radius_is_taken_at_its_times_along_the_solution():
    seen = monitor(lambda t, y: t * y.square(), torch.tensor([[0.5], [-2.0]], dtype=F64), [0.0, 1.0], times=5, **TIGHT)
    t = np.linspace(0.0, 1.0, 5)[:, None]
    y = 1.0 / (1.0 / np.array([0.5, -2.0]) - t**2 / 2.0)
    assert np.array_equal(seen.times, t[:, 0])
    assert seen.radius == pytest.approx(abs(2.0 * t * y), rel=1e-8)


@pytest.mark.parametrize("a", [[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_a_nilpotent_jacobian_has_no_radius(a):
    seen = monitor(linear(a), states(2, 2), [0.0, 1.0], **TIGHT)
    assert (seen.radius == 0.0).all() and seen.ok.all()


def test_a_field_that_does_not_depend_on_the_state_is_neutral():
    seen = monitor(lambda t, y: torch.ones_like(y), states(), [0.0, 1.0], warn=False)
    assert (seen.radius == 0.0).all() and seen.exponent == pytest.approx(0.0, abs=1e-14) and seen.ok.all()


def test_stiffness_is_the_largest_of_the_solve_and_none_without_an_estimate():
    func, y0, t = linear(MATRICES["real"][0]), states(), [0.0, 2.0]
    sol = ss.neural.odeint(func, y0, t, heuristics="values")
    want = (sol.heuristics.S * sol.heuristics.h).amax(0).numpy()
    seen = monitor(func, y0, t)
    assert seen.stiffness == pytest.approx(want) and seen.nfev_plain == sol.stats.nfev - sol.stats.nfev_check
    assert monitor(func, y0, t, method="bs32").stiffness is None
    assert "stiffness" not in monitor(func, y0, t, method="bs32").numbers()


# -- the verdict ------------------------------------------------------------------------------------------------------


def gradient(y0, length, rtol):
    y0 = y0.clone().requires_grad_()
    (g,) = torch.autograd.grad(ss.neural.odeint(lorenz, y0, [0.0, length], rtol=rtol, atol=1e-6).y[-1].sum(), y0)
    return g


@pytest.mark.parametrize("length, usable", [(3.0, True), pytest.param(20.0, False, marks=pytest.mark.slow)])
def test_the_rule_parts_gradients_that_agree_from_those_that_do_not(length, usable):
    """In float32 the limit is a growth of 2.9e3.  Solves at two tolerances agree on the gradient or, but for chance,
    do not: a growth of 1e7 has taken every digit."""
    y0 = on_the_attractor(torch.float32)
    seen = monitor(lorenz, y0, [0.0, length], rtol=1e-5, atol=1e-6, times=4, iterations=1, warn=False)
    one, other = gradient(y0, length, 1e-5), gradient(y0, length, 3e-6)
    off = ((one - other).norm(dim=1) / one.norm(dim=1)).numpy()
    assert seen.explodes.tolist() == [not usable] * 8 and seen.limit == pytest.approx(np.log(2896.3), abs=1e-4)
    assert (off < 0.05).all() if usable else (off > 0.5).mean() > 0.5


def test_the_warning_names_the_share_the_exponent_and_the_segment():
    rates = torch.tensor([[30.0], [0.1], [25.0], [-50.0]], dtype=F64)

    def field(t, y):
        return rates * torch.tanh(y)

    rest, grid = torch.zeros(4, 1, dtype=F64), {"method": "rk4", "step_size": 5e-3}
    with pytest.warns(UserWarning) as caught:
        seen = monitor(field, rest, [0.0, 1.0], **grid)
    (text,) = [str(w.message) for w in caught]
    assert caught[0].filename == __file__ and text == seen.message
    assert "explode for 2 of 4 samples: the exponent is up to 30" in text and "10^13.0" in text
    assert f"spans of at most {18.0218 / 30:.3g}" in text
    for remedy in ("multiple shooting", "truncated", "evolution", "likelihood-ratio", "shadowing", "clipping"):
        assert remedy in text
    assert "gradients vanish for 1 of 4 samples" in text
    assert seen.explodes.tolist() == [True, False, True, False] and seen.vanishes.tolist() == [False] * 3 + [True]
    assert seen.segment[1] == pytest.approx(180.218, rel=1e-4) and seen.stiffness is None and seen.segment[3] == np.inf
    numbers = seen.numbers()
    assert numbers["explodes"] == 0.5 and numbers["vanishes"] == 0.25 and numbers["failed"] == 0.0
    assert numbers["exponent_max"] == pytest.approx(30.0, rel=1e-4) and numbers["radius"] == pytest.approx(50.0)
    assert all(type(value) is float for value in numbers.values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "can be used" in monitor(field, rest, [0.0, 0.2], **grid).message
        monitor(field, rest, [0.0, 1.0], warn=False, **grid)


def test_a_failed_sample_has_a_reason_and_leaves_the_others_alone():
    y0 = torch.tensor([[0.5], [2.0], [float("nan")], [0.25]], dtype=F64)
    with pytest.warns(UserWarning, match="known of 2 of 4 samples, numbers 1, 2: the solve failed at t = 0.5"):
        seen = monitor(lambda t, y: y.square(), y0, [0.0, 1.0], rtol=1e-9)
    assert seen.ok.tolist() == [True, False, False, True] and sorted(seen.reasons) == [1, 2]
    assert np.isnan(seen.exponent).tolist() == [False, True, True, False]
    assert not seen.explodes.any() and not seen.vanishes.any() and np.isnan(seen.segment[1:3]).all()
    # y = y0 / (1 - y0 t), dy/dy0 = 1 / (1 - y0 t)^2
    assert seen.growth[[0, 3]] == pytest.approx([4.0, 1 / 0.75**2], rel=1e-6)
    assert seen.numbers()["failed"] == 0.5 and seen.numbers()["log_growth"] == pytest.approx(np.log(4 / 0.75**2) / 2)


def test_a_gradient_that_is_not_finite_is_a_failure():
    y0 = torch.tensor([[1.0], [0.0]], dtype=F64)
    seen = monitor(lambda t, y: y.abs().sqrt(), y0, [0.0, 1.0], warn=False)
    assert seen.ok.tolist() == [True, False] and "gradient is not finite" in seen.reasons[1]


def test_where_all_fail_there_are_no_numbers():
    y0, t = torch.full((2, 1), 3.0, dtype=F64), [0.0, 1.0]
    seen = monitor(lambda t, y: y.square(), y0, t, per_sample=False, warn=False)
    assert seen.ok.tolist() == [False] and np.isnan(seen.numbers()["exponent"]) and "1 of 1" in seen.message
    assert np.isnan(seen.radius[-1]).all() and seen.radius[0] == pytest.approx(6.0)
    assert np.isnan(ss.neural.log_growth(lambda t, y: y.square(), y0, t))
