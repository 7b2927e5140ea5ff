"""Runge-Kutta-Nystrom pairs: order conditions of Nystrom's special trees, and steps of an orbit in many digits.

A special tree is (k, subtrees): a node for the acceleration with k leaves below it, which stand for velocities, and
subtrees, each hanging on a node for a position (E. Hairer, S. P. Norsett, G. Wanner, Solving ODEs I, II.14).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import prod

import mpmath
import pytest

from stepsmith.integrators.methods.nystrom import dprkn6, dprkn12
from stepsmith.integrators.methods.nystrom.tableau import NystromTableau

mpmath.mp.dps = 60
PAIRS = [dprkn6.TABLEAU, dprkn12.TABLEAU]


@cache
def nodes(tree):
    k, below = tree
    return 1 + k + sum(1 + nodes(t) for t in below)


@cache
def trees(count):
    """All special trees of `count` nodes: 1, 1, 2, 3, 6, 10, 20, 36, 72, 137, 275, 541 of them."""

    def forests(left, start):
        yield left, ()
        for i in range(start, len(smaller)):
            size = 1 + nodes(smaller[i])
            if size <= left:
                yield from ((k, (smaller[i], *rest)) for k, rest in forests(left - size, i))

    smaller = [t for n in range(1, count - 1) for t in trees(n)]
    return tuple(forests(count - 1, 0))


def share(tree):
    """f(c) = share c^(nodes - 1): what the tree's acceleration is at c with the exact positions."""
    return prod((share(t) * Fraction(1, nodes(t) * (nodes(t) + 1)) for t in tree[1]), start=Fraction(1))


class Weights:
    """Elementary weights of all stages in any arithmetic; a: rows; c: nodes."""

    def __init__(self, a, c):
        self.a, self.c, self.known = a, c, {}

    def phi(self, tree):
        if tree not in self.known:
            out = [x ** tree[0] for x in self.c]
            for t in tree[1]:
                below = self.phi(t)
                out = [x * self.dot(row, below) for x, row in zip(out, self.a, strict=True)]
            self.known[tree] = out
        return self.known[tree]

    def dot(self, row, values):
        return sum((x * y for x, y in zip(row, values, strict=False)), self.c[0])  # c[0] is a 0 of this arithmetic

    def defects(self, weights, count, position, exact=1):
        """What is missing to the conditions of trees of `count` nodes."""
        for tree in trees(count):
            right = share(tree) * Fraction(exact, count * (count + 1) if position else count)
            yield self.dot(weights, self.phi(tree)) - right


class Root:
    """p + q sqrt(8581), exactly."""

    def __init__(self, p=0, q=0):
        self.p, self.q = Fraction(p), Fraction(q)

    @staticmethod
    def of(x):
        return x if isinstance(x, Root) else Root(x)

    def __add__(self, other):
        other = Root.of(other)
        return Root(self.p + other.p, self.q + other.q)

    def __mul__(self, other):
        other = Root.of(other)
        return Root(self.p * other.p + 8581 * self.q * other.q, self.p * other.q + self.q * other.p)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return -1 * self

    def __sub__(self, other):
        return self + -1 * Root.of(other)

    def __rsub__(self, other):
        return other + -1 * self

    def __truediv__(self, number):
        return self * Fraction(1, number)

    def __pow__(self, k):
        return prod([self] * k, start=Root(1))

    def __bool__(self):
        return bool(self.p or self.q)


def order(weights, row, position, exact=1, most=13, zero=lambda x: not x):
    """The highest order to which the conditions of trees hold."""
    for count in range(1, most + 1):
        if not all(map(zero, weights.defects(row, count, position, exact))):
            return count - 1 + position
    return most


def test_dprkn6_in_exact_arithmetic():
    t = dprkn6.coefficients(Root(0, 1))
    weights = Weights(t["a"], t["c"])
    assert not any(sum(row, Root()) - c * c / 2 for row, c in zip(t["a"], t["c"], strict=True))
    assert [order(weights, t["b"], True), order(weights, t["bv"], False)] == [6, 6]
    assert [order(weights, t["e"], True, 0), order(weights, t["ev"], False, 0)] == [4, 4]
    # the interpolant: each power of theta has its conditions
    for count in range(1, 6):
        for j in range(6):
            row = [x[j] for x in t["dense"]]
            assert not any(weights.defects(row, count, True, int(j == count)))
    ours = dprkn6.TABLEAU
    for name in ("b", "bv", "e", "ev"):
        exact = [float(x.p) + float(x.q) * 8581**0.5 for x in t[name]]
        assert [float(x) for x in getattr(ours, name)] == pytest.approx(exact, rel=1e-12)


def multiple(row):
    return [mpmath.mpf(x.numerator) / x.denominator for x in row]


@pytest.mark.parametrize("t", PAIRS, ids=lambda t: t.name)
def test_orders_in_many_digits(t: NystromTableau):
    """Of dprkn12, whose long coefficients are decimals."""
    weights = Weights([multiple(row) for row in t.a], multiple(t.c))

    def zero(x):
        return abs(x) < mpmath.mpf(10) ** -40

    for row, c in zip(weights.a, weights.c, strict=True):
        assert zero(sum(row) - c * c / 2)
    found = [order(weights, multiple(row), pos, 1, 13, zero) for row, pos in ((t.b, True), (t.bv, False))]
    estimate = [order(weights, multiple(row), pos, 0, 13, zero) for row, pos in ((t.e, True), (t.ev, False))]
    assert found == [t.order] * 2 and estimate == [t.embedded_order] * 2
    assert t.fsal == (t.name == "dprkn6")


@pytest.mark.parametrize("t", PAIRS, ids=lambda t: t.name)
def test_orders_within_a_step(t: NystromTableau):
    """Velocities of the interpolant have `dense_order`, positions one more; both ends and their slopes are joined."""
    rows = [*map(multiple, t.a), *map(multiple, t.dense_a)]
    weights = Weights(rows, multiple(t.c + t.dense_c))
    small = mpmath.mpf(10) ** -25
    for count in range(1, t.dense_order + 2):
        worst = mpmath.mpf(0)
        for j in range(len(t.dense[0])):
            row = multiple([x[j] for x in t.dense])
            worst = max(worst, *map(abs, weights.defects(row, count, True, int(j == count))))
        assert (worst < small) == (count <= t.dense_order)
    for i, (row, slopes) in enumerate(zip(t.dense, t.dense_velocity, strict=True)):
        b, bv = ((w[i] if i < t.stages else 0) for w in (t.b, t.bv))
        close = Fraction(1, 10**50)  # sqrt(8581) is cut after 60 decimals
        assert abs(sum(row) - b) < close and abs(sum(slopes) - bv) < close and row[0] == 0
        first, last = slopes[0], sum((j + 1) * x for j, x in enumerate(slopes))
        assert abs(first - (i == 0)) < close and abs(last - (i == t.end)) < close


def exact(t):
    """Position and velocity on an orbit of eccentricity 1/2 with period 2 pi, from the pericentre."""
    e = mpmath.mpf(1) / 2
    angle = mpmath.findroot(lambda u: u - e * mpmath.sin(u) - t, t)
    root, r = mpmath.sqrt(1 - e * e), 1 - e * mpmath.cos(angle)
    q = mpmath.matrix([mpmath.cos(angle) - e, root * mpmath.sin(angle)])
    return q, mpmath.matrix([-mpmath.sin(angle) / r, root * mpmath.cos(angle) / r])


def accelerations(q):
    return -q / mpmath.sqrt(q[0] ** 2 + q[1] ** 2) ** 3


def size(x):
    return max(map(abs, x))


def off_by(t, start, h):
    """What is wrong with q, v after one step, with q, v within, and the estimates of q, v."""
    q, v = exact(start)
    k = []

    def total(row):
        return sum((w * x for w, x in zip(multiple(row), k, strict=False)), mpmath.matrix([0, 0]))

    for c, row in zip(multiple(t.c + t.dense_c), t.a + t.dense_a, strict=True):
        k.append(accelerations(q + c * h * v + h * h * total(row)))
    end, within = exact(start + h), exact(start + h * mpmath.mpf("0.4"))
    rows = [sum(x * Fraction(2, 5) ** (j + 1) for j, x in enumerate(row)) for row in t.dense]
    slopes = [sum(x * Fraction(2, 5) ** (j + 1) for j, x in enumerate(row)) for row in t.dense_velocity]
    return [
        size(q + h * v + h * h * total(t.b) - end[0]), size(v + h * total(t.bv) - end[1]),
        size(q + h * v * 2 / 5 + h * h * total(rows) - within[0]), size(v + h * total(slopes) - within[1]),
        size(h * h * total(t.e)), size(h * total(t.ev)),
    ]  # fmt: skip


@pytest.mark.parametrize("t", PAIRS, ids=lambda t: t.name)
def test_errors_fall_as_the_orders_say(t: NystromTableau):
    start, h = mpmath.mpf("0.7"), mpmath.mpf(1) / 64
    coarse, fine = off_by(t, start, h), off_by(t, start, h / 2)
    rates = [float(mpmath.log(a / b, 2)) for a, b in zip(coarse, fine, strict=True)]
    powers = [
        t.order + 1,
        t.order + 1,
        t.dense_order + 2,
        t.dense_order + 1,
        t.embedded_order + 1,
        t.embedded_order + 1,
    ]
    # estimates of positions have one power of h more where the embedded conditions allow it
    assert all(rate > power - 0.2 for rate, power in zip(rates, powers, strict=True))
    assert rates[1] == pytest.approx(powers[1], abs=0.2) and rates[5] == pytest.approx(powers[5], abs=0.2)
    assert rates[3] == pytest.approx(powers[3], abs=0.2)
