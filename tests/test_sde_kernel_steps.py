"""A step of every method for SDEs as kernels take it, run as plain Python, against the formulas of its description."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepsmith.integrators.kernels.sde import attempts
from stepsmith.integrators.methods import sde

N = 2
ROWS = (
    "Y", "YN", "S", "E", "EU", "DW", "HL", "K0", "K1", "K2", "K3", "GG0", "GG1", "GG2", "GG3", "U0", "U1", "U2", "U3",
    "P", "Q", "READY",
)  # fmt: skip
T, SIZE = 0.3, 0.2
Y0 = np.array([0.7, -0.4])


def f(t, y):
    return np.array([np.sin(t) * y[1] - y[0] ** 2, y[0] + t])


def diagonal(t, y):
    return np.array([0.5 + t * np.cos(y[0]), 0.3 * y[1] ** 2])


def additive(t, y):
    return np.array([0.5 + t, 0.3 * t * t])


def taken(method, plain, g, w, h):
    """(YN, E) of a step in the kernel's own text, without Numba."""
    A = np.zeros(len(ROWS) * N)
    at = {name: i * N for i, name in enumerate(ROWS)}
    A[at["Y"] : at["Y"] + N] = Y0
    A[at["DW"] : at["DW"] + len(w)], A[at["HL"] : at["HL"] + len(h)] = w, h

    def calls(fn):
        def written(t, y, p, out):
            out[:] = fn(t, y)

        return written

    space = {
        **at, "A": A, "N": N, "WIDTH": 1, "DIM": N, "NPAR": 0, "NQ": 0, "PLAIN": plain, "OWN": int(len(w) == N),
        "sqrt": math.sqrt, "drift": calls(f), "diffusion": calls(g), "_inline": lambda fn: fn,
        "view": lambda a, first, width, size: a[first : first + size],
    }  # fmt: skip
    space["frozen"] = space["view"]
    exec(attempts.step_source(method, plain), space)
    space["step"](A, T, SIZE)
    return A[at["YN"] : at["YN"] + N], A[at["E"] : at["E"] + N]


def sri(method, g, w, levy):
    """Roessler's form, stage by stage, as `methods.sde.sri` states it."""
    tab = method.sri
    s, h = tab.stages, SIZE
    square = [[float(v) for v in row] + [0.0] * s for row in (*tab.a0, *tab.a1, *tab.b0, *tab.b1)]
    a0, a1, b0, b1 = (np.array([row[:s] for row in square[k * s : (k + 1) * s]]) for k in range(4))
    c1, c2, c3 = (w**2 - h) / (2 * np.sqrt(h)), w / 2 + levy, (w**3 - 3 * h * w) / (6 * h)
    k, gs = np.zeros((s, N)), np.zeros((s, N))
    for i in range(s):
        k[i] = f(T + a0[i].sum() * h, Y0 + h * a0[i] @ k + c2 * (b0[i] @ gs))
        gs[i] = g(T + a1[i].sum() * h, Y0 + h * a1[i] @ k + np.sqrt(h) * (b1[i] @ gs))
    alpha, beta1, beta2, beta3, beta4 = (
        np.array([float(v) for v in row]) for row in (tab.alpha, tab.beta1, tab.beta2, tab.beta3, tab.beta4)
    )
    e2 = c2 * (beta3 @ gs) + c3 * (beta4 @ gs)
    y1 = Y0 + h * alpha @ k + w * (beta1 @ gs) + c1 * (beta2 @ gs) + e2
    if method.estimate == "embedded":
        return y1, y1 - (Y0 + h * k[0] + w * (beta1 @ gs) + c1 * (beta2 @ gs))
    return y1, (h / 6 * (k[0] + k[1]) if method.name == "sriw1" else h * k.sum(0)) + e2


def stated(method, g, w, levy):
    """(y1, e) as the method's file states them."""
    h, end, y = SIZE, T + SIZE, Y0
    root, f0, g0 = np.sqrt(SIZE), f(T, Y0), g(T, Y0)
    ahead = h / 2 * (f(end, y + h * f0) - f0)
    euler = y + h * f0 + w * g0
    if method.sri is not None:
        return sri(method, g, w, levy)
    if method.name == "euler_maruyama":
        return euler, ahead + w / 2 * (g(end, y) - g0)
    if method.name == "euler_heun":
        g1 = g(end, y + w * g0)
        return y + h * f0 + w / 2 * (g0 + g1), ahead + w / 2 * (g1 - g0)
    if method.name == "milstein_ito":
        m = (g(end, y + h * f0 + root * g0) - g0) / root * (w**2 - h) / 2
        return euler + m, ahead + m
    if method.name == "milstein_stratonovich":
        m = (g(T, y + root * g0) - g(T, y - root * g0)) / (2 * root) * w**2 / 2
        return euler + m, ahead + m + w / 2 * (g(end, y) - g0)
    if method.name in ("stochastic_heun", "gotta_go_fast"):
        e = h / 2 * (f(end, euler) - f0) + w / 2 * (g(end, euler) - g0)
        return euler + e, e
    assert method.name == "sra1"
    g1, c2 = g(end, y), w / 2 + levy
    k1 = h * f0
    k2 = h * f(T + 0.75 * h, y + 0.75 * k1 + 1.5 * c2 * g1)
    e2 = c2 * (g0 - g1)
    size = k1 + k2 if method.estimate == "sri" else 2 / 3 * (k2 - k1)
    return y + (k1 + 2 * k2) / 3 + w * g1 + e2, size + e2


@pytest.mark.parametrize("name", sde.NAMES)
@pytest.mark.parametrize(("plain", "estimate"), [(False, "published"), (True, "published"), (False, "difference")])
def test_a_step_and_its_estimate_are_those_of_the_description(name, plain, estimate) -> None:
    method, rng = sde.get(name, estimate), np.random.default_rng(1)
    for noise in method.noises:
        g, d = additive if noise == "additive" else diagonal, 1 if noise == "scalar" else N
        w, levy = np.sqrt(SIZE) * rng.normal(size=d), np.sqrt(SIZE / 12) * rng.normal(size=d)
        y1, e = taken(method, plain, g, w, levy)
        stated_y1, stated_e = stated(method, g, w, levy)
        np.testing.assert_allclose(y1, stated_y1, rtol=1e-13)
        if not plain:
            np.testing.assert_allclose(e, stated_e, rtol=1e-12, atol=1e-15)
