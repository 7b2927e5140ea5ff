"""Template: one trial step of each method that is not of Roessler's SRI form (`attempts` writes those), as its file in
`methods.sde` states it: YN, and the estimate E unless steps are PLAIN.

OWN is 1 where every component has a Brownian motion of its own, else 0: the increment of component i is A[DW + i*OWN].
"""

from ..slots import DIM, K0, K1, NPAR, WIDTH, YN, N, P, Y, frozen, inline, sqrt, view
from .slots import D0, D1, DW, EU, GG0, GG1, GG2, HL, NQ, OWN, PLAIN, READY, E, Q, S, diffusion, drift


@inline
def f(A, t, state, slope):
    drift(t, frozen(A, state, WIDTH, DIM), frozen(A, P, WIDTH, NPAR), view(A, slope, WIDTH, DIM))


@inline
def g(A, t, state, slope):
    diffusion(t, frozen(A, state, WIDTH, DIM), frozen(A, Q, WIDTH, NQ), view(A, slope, WIDTH, DIM))


@inline
def at_start(A, t):
    """K0 and GG0, drift and diffusion at the start of the step, unless an attempt before was from there."""
    if A[READY] == 0.0:
        f(A, t, Y, K0)
        g(A, t, Y, GG0)


@inline
def drift_at_euler_s_end(A, t, h):
    """E = h/2 (f(t + h, y + h f) - f), K0 being f."""
    for i in range(N):
        A[S + i] = A[Y + i] + h*A[K0 + i]
    f(A, t + h, S, K1)
    for i in range(N):
        A[E + i] = 0.5*h*(A[K1 + i] - A[K0 + i])


@inline
def euler_maruyama(A, t, h):
    at_start(A, t)
    for i in range(N):
        A[YN + i] = A[Y + i] + h*A[K0 + i] + A[DW + i*OWN]*A[GG0 + i]
    if not PLAIN:
        drift_at_euler_s_end(A, t, h)
        g(A, t + h, Y, GG1)
        for i in range(N):
            A[E + i] += 0.5*A[DW + i*OWN]*(A[GG1 + i] - A[GG0 + i])


@inline
def euler_heun(A, t, h):
    at_start(A, t)
    for i in range(N):
        A[S + i] = A[Y + i] + A[DW + i*OWN]*A[GG0 + i]
    g(A, t + h, S, GG1)
    for i in range(N):
        A[YN + i] = A[Y + i] + h*A[K0 + i] + 0.5*A[DW + i*OWN]*(A[GG0 + i] + A[GG1 + i])
    if not PLAIN:
        drift_at_euler_s_end(A, t, h)
        for i in range(N):
            A[E + i] += 0.5*A[DW + i*OWN]*(A[GG1 + i] - A[GG0 + i])


@inline
def milstein_ito(A, t, h):
    root = sqrt(h)
    at_start(A, t)
    for i in range(N):
        A[S + i] = A[Y + i] + h*A[K0 + i] + root*A[GG0 + i]
    g(A, t + h, S, GG1)
    if not PLAIN:
        drift_at_euler_s_end(A, t, h)
    for i in range(N):
        w = A[DW + i*OWN]
        m = 0.5*(A[GG1 + i] - A[GG0 + i])/root*(w*w - h)
        A[YN + i] = A[Y + i] + h*A[K0 + i] + w*A[GG0 + i] + m
        if not PLAIN:
            A[E + i] += m


@inline
def milstein_stratonovich(A, t, h):
    root = sqrt(h)
    at_start(A, t)
    for i in range(N):
        A[S + i] = A[Y + i] + root*A[GG0 + i]
    g(A, t, S, GG1)
    for i in range(N):
        A[S + i] = A[Y + i] - root*A[GG0 + i]
    g(A, t, S, GG2)
    if not PLAIN:
        drift_at_euler_s_end(A, t, h)
    for i in range(N):
        w = A[DW + i*OWN]
        m = 0.25*(A[GG1 + i] - A[GG2 + i])/root*w*w
        A[YN + i] = A[Y + i] + h*A[K0 + i] + w*A[GG0 + i] + m
        if not PLAIN:
            A[E + i] += m
    if not PLAIN:
        g(A, t + h, Y, GG1)
        for i in range(N):
            A[E + i] += 0.5*A[DW + i*OWN]*(A[GG1 + i] - A[GG0 + i])


@inline
def stochastic_heun(A, t, h):
    """EU is Euler's end, which `gotta_go_fast` scales by."""
    at_start(A, t)
    for i in range(N):
        A[EU + i] = A[Y + i] + h*A[K0 + i] + A[DW + i*OWN]*A[GG0 + i]
    f(A, t + h, EU, K1)
    g(A, t + h, EU, GG1)
    for i in range(N):
        e = 0.5*h*(A[K1 + i] - A[K0 + i]) + 0.5*A[DW + i*OWN]*(A[GG1 + i] - A[GG0 + i])
        A[E + i] = e
        A[YN + i] = A[EU + i] + e


@inline
def sra1(A, t, h):
    """c2 = W/2 + H, int W_s ds over the step being h c2; D0 and D1 are the method's `slopes`."""
    at_start(A, t)
    g(A, t + h, Y, GG1)
    for i in range(N):
        c2 = 0.5*A[DW + i*OWN] + A[HL + i*OWN]
        A[S + i] = A[Y + i] + 0.75*h*A[K0 + i] + 1.5*c2*A[GG1 + i]
    f(A, t + 0.75*h, S, K1)
    for i in range(N):
        w = A[DW + i*OWN]
        e2 = (0.5*w + A[HL + i*OWN])*(A[GG0 + i] - A[GG1 + i])
        A[YN + i] = A[Y + i] + h*(A[K0 + i] + 2.0*A[K1 + i])/3.0 + w*A[GG1 + i] + e2
        A[E + i] = h*(D0*A[K0 + i] + D1*A[K1 + i]) + e2
