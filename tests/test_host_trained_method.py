"""torchode and diffrax, which learn of their method when they solve, warn of a controller trained with another one."""

from __future__ import annotations

import warnings

import diffrax as dfx
import jax.numpy as jnp
import pytest
import torch
import torchode as to

import stepsmith as ss
from stepsmith.integrators.engine import trained_method
from stepsmith.integrators.engine.trained_method import warn_once_in


@pytest.fixture(autouse=True)
def nobody_told(monkeypatch):
    monkeypatch.setattr(trained_method, "_TOLD", set())


def said(do):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        do()
    return [str(w.message) for w in found if "was trained with" in str(w.message)]


def torchode_solve(name, step_method, own):
    term = to.ODETerm(lambda t, y: -y)
    sizes = ss.controller(name).for_torchode(1e-5, 1e-5, term=term)
    method = step_method(term=term)
    solver = sizes.solver(method) if own else to.AutoDiffAdjoint(method, sizes)
    return lambda: solver.solve(to.InitialValueProblem(torch.ones(2, 3), torch.zeros(2), torch.ones(2)))


@pytest.mark.parametrize("own", [True, False])
def test_torchode(own):
    assert not said(torchode_solve("lorenz96", to.Dopri5, own))
    assert not said(torchode_solve("pi34", to.Heun, own))
    other = torchode_solve("lorenz96", to.Heun, own)
    (words,) = said(other)
    assert "'lorenz96' was trained with method 'dopri5'" in words
    assert ("torchode's Heun (order 2)" if own else "a method of order 2 in torchode") in words
    assert not said(other)  # once
    # the order is the same: only the solver of ours knows more
    assert len(said(torchode_solve("lorenz96", to.Tsit5, own))) == own


def diffrax_solve(name, solver):
    ctrl = ss.controller(name).for_diffrax(1e-3, 1e-3)
    term = dfx.ODETerm(lambda t, y, args: -y)
    return lambda: dfx.diffeqsolve(term, solver, 0.0, 1.0, 0.1, jnp.ones(2), stepsize_controller=ctrl)


def test_diffrax():
    assert not said(diffrax_solve("lorenz96", dfx.Dopri5()))
    assert not said(diffrax_solve("pi34", dfx.Bosh3()))
    (words,) = said(diffrax_solve("lorenz96", dfx.Tsit5()))
    assert "'lorenz96' was trained with method 'dopri5' and is used with diffrax's Tsit5" in words


def test_where_the_pair_is_not_known_orders_are_compared():
    one = ss.controller("lorenz96")
    assert not said(lambda: warn_once_in("diffrax", one, "Mine", 5, {}))
    assert not said(lambda: warn_once_in("diffrax", one, None, object(), {}))
    assert len(said(lambda: warn_once_in("diffrax", one, "Mine", 4, {}))) == 1
