"""Zeros and smallest values of an event along the accepted step, as a function of theta (`events`).

Source: T. R. Chandrupatla, A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
without using derivatives, Adv. Eng. Softw. 28 (1997) 145.
"""

from ..slots import HS, T, Z, fabs, piece, sqrt
from .slots import value
from .state_at import state_at


@piece
def value_at(A, l, e, th):
    t = state_at(A, l, th)
    return value(A, l, e, t, Z)


@piece
def slope(A, l, e, th, d):
    # by theta; d: how far the second value is away
    return (value_at(A, l, e, th + d) - value_at(A, l, e, th))/d


@piece
def zero(A, l, e, a, va, b, vb):
    # theta between a and b, whose values have different signs (or one is 0), of the zero of event e; -1 where it is NaN
    # in between
    if va == 0.0 or vb == 0.0:
        return a if va == 0.0 else b
    # a is the latest point, b the one on the other side of zero, c the one before
    share = 0.5
    for _ in range(120):
        x = a + share*(b - a)
        v = value_at(A, l, e, x)
        if v != v:
            return -1.0
        if (v > 0.0) == (va > 0.0):
            c = a
            vc = va
        else:
            c = b
            vc = vb
            b = a
            vb = va
        a = x
        va = v
        best = a if fabs(va) < fabs(vb) else b
        # up to neighbouring numbers, and what the time variable resolves
        least = (2.3e-16*fabs(best) + 1.2e-16*fabs(A[T + l]/A[HS + l]) + 1e-300)/fabs(b - a)
        if va == 0.0 or least >= 0.5:
            return best
        xi = (a - b)/(c - b)
        phi = (va - vb)/(vc - vb)
        share = 0.5
        if 1.0 - sqrt(1.0 - xi) < phi and phi < sqrt(xi):
            share = va/(vb - va)*vc/(vb - vc) + (c - a)/(b - a)*va/(vc - va)*vb/(vc - vb)
        share = min(max(share, least), 1.0 - least)
    return b


@piece
def dip(A, l, e, s, a, va, sa, b, vb, sb):
    # theta between a and b where s times the value is below 0, though it is not at both ends; -1: there is none.
    # sa, sb: slopes; s*sa < 0 < s*sb
    for k in range(60):
        # where the tangents meet: no lower where the curve is convex
        x = ((vb - sb*b) - (va - sa*a))/(sa - sb)
        least = s*(va + sa*(x - a))
        if least > 0.5*min(s*va, s*vb) or b - a < 1e-13:
            return -1.0
        if k % 3 == 2 or not (x > a + 0.01*(b - a) and x < b - 0.01*(b - a)):
            x = 0.5*(a + b)
        v = value_at(A, l, e, x)
        if not s*v >= 0.0:
            return x
        d = 1e-3*(b - a)
        slope = (value_at(A, l, e, x + d) - v)/d
        if s*slope < 0.0:
            a = x
            va = v
            sa = slope
        else:
            b = x
            vb = v
            sb = slope
            if s*sb == 0.0:
                return -1.0
    return -1.0
