"""Counter-based normals and the Brownian bridge with space-time Levy area, against exact values."""

from __future__ import annotations

from fractions import Fraction as F
from math import sqrt

import numba
import numpy as np
import pytest
from scipy import special, stats

from stepsmith.integrators.core.binding import bind
from stepsmith.integrators.noise import bridge, counter, normal

ARRAYS = {"sqrt": np.sqrt}
A, B = 0.3, 0.5  # the pieces of the interval in these tests


def compiled(fn):
    return numba.njit(bind(fn, {}, numba.njit))


def test_the_quantile_is_scipy_s_everywhere() -> None:
    u = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 20001), 2.0 ** -np.arange(1.0, 53.5, 0.5), [2.0**-53]])
    np.testing.assert_allclose(normal.quantiles(u), special.ndtri(u), rtol=3e-14, atol=1e-15)
    np.testing.assert_array_equal(normal.quantiles(1.0 - u[:1000]), -normal.quantiles(1.0 - (1.0 - u[:1000])))


def test_compiled_numbers_are_numpy_s() -> None:
    one, own = compiled(normal.normal), normal.keys(7, np.arange(5))
    many = normal.normals(own[:, None], np.arange(2000)[None, :])
    found = np.array([[one(k, c) for c in range(2000)] for k in own])
    np.testing.assert_allclose(found, many, rtol=2e-15)
    key = compiled(counter.key)
    assert [key(7, i) for i in range(5)] == own.tolist()


def test_the_generator_is_splitmix64() -> None:
    """The first outputs of the published generator with seed 1234567 (prng.di.unimi.it/splitmix64.c)."""
    state = np.int64([1234567]) + np.arange(1, 4) * np.int64(counter._GOLDEN)
    assert counter.mix(state).astype(np.uint64).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
    ]  # fmt: skip


def test_normals_are_normal_and_independent() -> None:
    z = normal.normals(normal.keys(3, np.arange(400))[:, None], np.arange(1000)[None, :])
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    n = z.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * sqrt(variance / n)
    for first, second in ((z[:, 1:], z[:, :-1]), (z[1:], z[:-1]), (z[1:, 1:], z[:-1, :-1])):
        assert abs((first * second).mean()) < 4 / sqrt(first.size)
    other = normal.normals(normal.keys(4, np.arange(400))[:, None], np.arange(1000)[None, :])
    assert abs((z * other).mean()) < 4 / sqrt(n)


def test_uniform_numbers_stay_inside() -> None:
    ends = counter.uniform(np.array([0, -1], dtype=np.int64))
    assert ends[0] == 2.0**-53 and ends[1] == 1.0 - 2.0**-53


def exact_covariance(a: F, b: F) -> list[list[F]]:
    """Of (W_a, H_a, W_b, H_b, W, H), by integrals of Brownian motion's covariance min(s, t).

    With I = int W: Var I_t = t^3/3 and Cov(I_t, W_t) = t^2/2; the increments over the two pieces are independent.
    H = I/t - W/2 over any interval, and over both I = I_a + b W_a + I_b.
    """
    t = a + b
    cov = [[a, a**2 / 2, 0, 0], [a**2 / 2, a**3 / 3, 0, 0], [0, 0, b, b**2 / 2], [0, 0, b**2 / 2, b**3 / 3]]
    rows = [
        [1, 0, 0, 0], [F(-1, 2), 1 / a, 0, 0], [0, 0, 1, 0], [0, 0, F(-1, 2), 1 / b],
        [1, 0, 1, 0], [b / t - F(1, 2), 1 / t, F(-1, 2), 1 / t],
    ]  # fmt: skip
    return [
        [sum(r[i] * cov[i][j] * s[j] for i in range(4) for j in range(4)) for s in rows] for r in rows
    ]


@pytest.mark.parametrize(("a", "b"), [(A, B), (0.5, 0.5), (1e-7, 1.0), (1.0, 1e-9), (2e-3, 7.0)])
def test_a_split_has_the_exact_joint_law(a: float, b: float) -> None:
    """`split` is linear in (W, H, z1, z2): its covariance from that of the four, against the exact one."""
    split = bind(bridge.split, ARRAYS)
    t = a + b
    w_a, h_a, w_b, h_b = split(a, b, *np.eye(4))
    rows = np.array([w_a, h_a, w_b, h_b, np.eye(4)[0], np.eye(4)[1]])
    found = rows @ np.diag([t, t / 12, 1.0, 1.0]) @ rows.T
    exact = np.array(exact_covariance(F(a), F(b)), dtype=float)
    scale = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(found / np.outer(scale, scale), exact / np.outer(scale, scale), atol=4e-14)


def test_a_split_has_the_published_conditional_moments() -> None:
    """Given (W, H): Var W_a = ab/t - 3a^2b^2/t^3, Var H_a = a/12 - a^4/(12t^3), covariance -a^3b/(2t^3)."""
    t = A + B
    w_a, h_a, _, _ = bind(bridge.split, ARRAYS)(A, B, *np.eye(4))
    w, h = w_a[2:], h_a[2:]  # what z1 and z2 add
    assert w @ w == pytest.approx(A * B / t - 3 * A**2 * B**2 / t**3, rel=1e-14)
    assert h @ h == pytest.approx(A / 12 - A**4 / (12 * t**3), rel=1e-14)
    assert w @ h == pytest.approx(-(A**3) * B / (2 * t**3), rel=1e-14)


def test_join_undoes_split() -> None:
    rng = np.random.default_rng(1)
    w, h, z1, z2 = rng.normal(size=(4, 100))
    for a, b in ((A, B), (1e-6, 1.0), (1.0, 1e-6)):
        pieces = bind(bridge.split, ARRAYS)(a, b, w, h, z1, z2)
        np.testing.assert_allclose(bridge.join(a, b, *pieces), (w, h), rtol=1e-13, atol=1e-14)
        left, right = bind(bridge.split_plain, ARRAYS)(a, b, w, z1)
        np.testing.assert_allclose(left + right, w, rtol=1e-13, atol=1e-14)


def test_drawn_and_split_numbers_have_the_law_of_brownian_motion() -> None:
    """Sampled, compiled: the empirical covariance of (W_a, H_a, W_b, H_b) and the law without Levy area."""
    n = 200_000
    z = normal.normals(normal.keys(11, np.arange(n)), np.arange(4)[:, None])
    w, h = bind(bridge.draw, ARRAYS)(A + B, z[0], z[1])
    split = compiled(bridge.split)
    sample = np.array([split(A, B, *row) for row in zip(w, h, z[2], z[3], strict=True)])
    exact = np.diag([A, A / 12, B, B / 12])
    error = 5 * np.sqrt(np.outer(np.diag(exact), np.diag(exact)) * 2 / n)
    assert np.all(np.abs(sample.T @ sample / n - exact) < error)
    left, right = bind(bridge.split_plain, ARRAYS)(A, B, w, z[2])
    plain = np.cov(left, right)
    assert np.all(np.abs(plain - np.diag([A, B])) < 5 * np.sqrt(2 / n) * (A + B))
