"""The stiff reference solver: coefficients against RADAU5's, an exactly solved stiff problem, failures, cache."""

from dataclasses import replace

import numpy as np
import pytest

from stepsmith.integrators import problems
from stepsmith.integrators.problems.problem import Batch, Problem
from stepsmith.integrators.reference.radau import bandwidth, coefficients, stiff_reference


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Results go to an empty folder, compiled modules stay where they are."""
    from stepsmith.integrators.reference import pair as module

    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


def forced(t, y, p, dy):
    dy[0] = -p[0] * (y[0] - t * t) + 2.0 * t + p[1] * (y[0] - t * t) * (y[0] - t * t)


def forced_jac(t, y, p, J):
    J[0, 0] = -p[0] + 2.0 * p[1] * (y[0] - t * t)


def square(t, y, p, dy):
    dy[0] = y[0] * y[0]


def square_jac(t, y, p, J):
    J[0, 0] = 2.0 * y[0]


def test_three_stages_are_radau5():
    """Constants of Hairer and Wanner's RADAU5: nodes, real eigenvalue, complex pair, weights of the error estimate."""
    c, inv_a, real, pairs, left, right, e, gamma = coefficients(3)
    root = np.sqrt(6.0)
    assert c == pytest.approx([(4 - root) / 10, (4 + root) / 10, 1.0], rel=1e-15)
    assert np.linalg.inv(inv_a)[2] == pytest.approx([(16 - root) / 36, (16 + root) / 36, 1 / 9], rel=1e-14)
    cube, square = 81.0 ** (1 / 3), 9.0 ** (1 / 3)
    assert real == pytest.approx(30.0 / (6.0 + cube - square), rel=1e-14)
    assert pairs[0] == pytest.approx(2.6810828736277521 + 3.0504301992474105j, rel=1e-13)
    assert e / gamma == pytest.approx([-(13 + 7 * root) / 3, (-13 + 7 * root) / 3, -1 / 3], rel=1e-13)
    assert left.shape == (2, 3) and right.shape == (3, 2)


@pytest.mark.parametrize("s", [5, 7])
def test_collocation_conditions(s):
    """B(2s - 1): the last stage's weights integrate x^q exactly for q up to 2s - 2; C(s) for the others."""
    c, inv_a, real, pairs, left, right, e, gamma = coefficients(s)
    a = np.linalg.inv(inv_a)
    q = np.arange(2 * s - 1)
    assert c[None, :] ** q[:, None] @ a[-1] == pytest.approx(1 / (q + 1), rel=1e-12)
    for k in range(s):
        assert a @ c**k == pytest.approx(c ** (k + 1) / (k + 1), rel=1e-11, abs=1e-15)
    rebuilt = (right[:, :1] * real) @ left[:1] + 2 * ((right[:, 1:] * pairs) @ left[1:]).real
    assert rebuilt.real == pytest.approx(inv_a, abs=1e-11 * np.abs(inv_a).max())


@pytest.mark.parametrize("rate", [1.0, 1e6])
def test_forced_decay_exactly(rate):
    """y = t^2 + w with w' = -p0 w + p1 w^2, a Bernoulli equation."""
    p = np.array([rate, 0.5 * rate])
    problem = Problem(forced, [1.0], (0.0, 3.0), p, jac=forced_jac)
    fractions = np.array([0.0, 1e-7, 0.1, 0.5, 1.0])
    t = 3.0 * fractions
    w = 1.0 / (p[1] / p[0] + (1.0 - p[1] / p[0]) * np.exp(np.minimum(p[0] * t, 700.0)))
    found = stiff_reference(problem, fractions)
    assert found.ok[0] and found.self_error[0] < 1e-11
    assert found.y[0, :, 0] == pytest.approx(t * t + w, rel=1e-12)


def test_backward_in_time():
    problem = Problem(square, [0.5], (0.0, -2.0), (), jac=square_jac)
    assert stiff_reference(problem, [1.0]).y[0, 0, 0] == pytest.approx(0.25, rel=1e-13)


def test_what_cannot_be_solved_is_not_ok():
    y0 = np.array([[0.1], [2.0], [np.nan]])  # 1/(1/y0 - t): the second has its pole at t = 1/2
    batch = Batch(square, y0, np.empty((3, 0)), np.zeros(3), np.ones(3), jac=square_jac, validate=False)
    found = stiff_reference(batch, [0.25, 1.0])
    assert found.ok.tolist() == [True, False, False]
    assert (
        found.y[1, 0, 0] == pytest.approx(4.0, rel=1e-12) and np.isnan(found.y[1, 1, 0]) and np.isnan(found.y[2]).all()
    )
    assert np.isinf(found.self_error[1:]).all()
    few = stiff_reference(problems.make("vdpol_stiff"), [1.0], max_steps=20)
    assert not few.ok[0] and np.isinf(few.self_error[0])


def test_a_strict_bound_is_kept():
    batch = problems.sample("orego", 2, seed=0)
    loose = stiff_reference(batch, [1.0], bound=1e-8, atol_factor=1e-3)
    strict = stiff_reference(batch, [1.0], bound=1e-300, atol_factor=1e-3)
    assert loose.ok.all() and np.array_equal(strict.ok, strict.self_error <= 1e-300)
    assert np.array_equal(loose.y, strict.y)


def test_cache(own_cache):
    batch = problems.sample("orego", 2, seed=0)
    first = stiff_reference(batch, [1.0], atol_factor=1e-3)
    (file,) = own_cache.glob("*.npz")
    with np.load(file) as stored:
        np.savez(own_cache / "changed.npz", tight=stored["tight"] + 1.0, loose=stored["loose"] + 1.0)
    (own_cache / "changed.npz").replace(file)
    assert np.array_equal(stiff_reference(batch, [1.0], atol_factor=1e-3).y, first.y + 1.0)  # read from disk
    stiff_reference(batch, [1.0], atol_factor=2e-3)
    assert len(list(own_cache.glob("*.npz"))) == 2
    file.write_bytes(b"damaged")
    assert np.array_equal(stiff_reference(batch, [1.0], atol_factor=1e-3).y, first.y)
    assert np.array_equal(stiff_reference(batch, [1.0], atol_factor=1e-3, cache=False).y, first.y)


def test_empty_batch():
    found = stiff_reference(problems.sample("rober", 0, seed=0), [0.5, 1.0])
    assert found.y.shape == (0, 2, 3) and found.ok.shape == (0,)


def test_bandwidth():
    assert bandwidth(problems.sample("pollu", 1, seed=0)) == (19, 19)
    assert bandwidth(problems.sample("friction", 1, seed=0)) == (1, 1) and bandwidth(
        problems.sample("flame", 1, seed=0)
    ) == (0, 0)


@pytest.mark.parametrize("name", ["rober", "vdpol_stiff"])
def test_a_problem_without_a_jacobian_has_the_same_reference(name):
    """Newton's iteration takes differences; what it converges to does not depend on them."""
    fam = problems.family(name)
    batch = fam.split("test", 3)
    given = (fam.fractions, fam.reference_bound, fam.components, fam.atol_factor)
    exact, other = (stiff_reference(b, *given, floor=fam.floor) for b in (batch, replace(batch, jac=None)))
    assert exact.ok.all() and other.ok.all()
    np.testing.assert_allclose(other.y, exact.y, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"atol_factor": 0.0}, "atol_factor must be positive"),
        ({"atol_factor": np.nan}, "atol_factor must be positive"),
        ({"fractions": []}, "non-empty"),
        ({"fractions": [0.5, 0.2]}, "non-decreasing"),
        ({"bound": 0.0}, "bound must be positive"),
        ({"max_steps": 0}, "max_steps"),
        ({"components": [7]}, "components must be indices"),
    ],
)
def test_bad_arguments(change, word):
    good = {"batch": problems.make("flame"), "fractions": [1.0]}
    with pytest.raises(ValueError, match=word):
        stiff_reference(**(good | change))
