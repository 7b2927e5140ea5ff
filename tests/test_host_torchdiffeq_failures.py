"""torchdiffeq as a host: what cannot go on, or cannot be, says so."""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest
import torch
from torchdiffeq import odeint

import stepsmith as ss
from stepsmith.controllers.hosts import torchdiffeq as host

importlib.import_module("torchdiffeq")
SOLVERS = sys.modules["torchdiffeq._impl.odeint"].SOLVERS
F64, PI = torch.float64, ss.controller("pi34")


def relaxation(t, y):
    return torch.stack([y[1], 8.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])


def predator(t, y):
    return torch.stack([1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3.0 * y[1]])


def nan_after(t, y):
    return torch.where(t > 0.5, torch.nan, 1.0) * y


def blows_up(t, y):
    return y**2


@pytest.mark.parametrize(
    ("func", "y0", "options", "what"),
    [
        (lambda t, y: y * torch.nan, 1.0, {}, "func is not finite at the start"),
        (lambda t, y: y, math.inf, {}, "y0 is not finite at the start"),
        (nan_after, 1.0, {}, "underflow in dt .* not finite there"),
        (nan_after, 1.0, {"min_step": 0.01}, "size min_step, 0.01, .* is not finite"),
        (blows_up, 1.0, {}, "underflow|rejected|not finite"),
        (lambda t, y: torch.sqrt(1.0 - t) * 0.0 + y, 1.0, {}, "underflow in dt"),
        (relaxation, None, {"max_num_steps": 5}, "max_num_steps exceeded"),
        (lambda t, y: -y, 1.0, {"first_step": math.nan}, "no first step size"),
    ],
)
@pytest.mark.parametrize("base", ["dopri5", "bosh3"])
def test_what_cannot_go_on_says_so(base, func, y0, options, what):
    y0 = torch.tensor([2.0, 0.0] if y0 is None else [y0, y0], dtype=F64)
    method = PI.for_torchdiffeq(base)
    with pytest.raises(AssertionError, match=what) as caught:
        odeint(func, y0, torch.tensor([0.0, 3.0], dtype=F64), method=method, options=options, rtol=1e-4, atol=1e-6)
    assert isinstance(caught.value, host.SolveFailed) and "\n" not in str(caught.value)
    assert caught.value.solve is method.stats and method.stats.failure and method.stats.failure in str(caught.value)


def test_a_state_that_overflows_is_not_accepted():
    # the error estimate of an infinite state over its scale is 0 or NaN: torchdiffeq accepts the former
    def func(t, y):
        return torch.where(t > 0.25, torch.full_like(y, 1e200), torch.zeros_like(y)) * 1e200

    with pytest.raises(host.SolveFailed, match="not finite"):
        odeint(func, torch.zeros(1, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64), method=PI.for_torchdiffeq())


@pytest.mark.parametrize("name", ["safety", "ifactor", "dfactor"])
def test_options_of_its_own_law_are_refused(name):
    with pytest.raises(ValueError, match=rf"option {name} has no effect.*controller.replace\(safety="):
        odeint(predator, torch.ones(2), torch.tensor([0.0, 1.0]), method=PI.for_torchdiffeq(), options={name: 0.5})


def test_what_is_no_method_option_or_controller_is_refused():
    with pytest.raises(ValueError, match="method 'rk4'|unknown method"):
        PI.for_torchdiffeq("rk4")
    with pytest.raises(ValueError, match="warm_start must be True or False"):
        PI.for_torchdiffeq(warm_start=1)
    with pytest.raises(TypeError, match="a controller is needed"):
        host.method(object())
    with pytest.raises(ValueError, match="log_curv.*need.*curv.*does not measure"):
        ss.controller("three-body").for_torchdiffeq("adaptive_heun")
    with pytest.raises(ValueError, match="Jacobian"):
        ss.controller("steppo").for_torchdiffeq()
    with pytest.raises(ValueError, match=r'Invalid method "rk5"\. Must be one of .*under pi34'):
        kept = PI.for_torchdiffeq()
        odeint(predator, torch.ones(2), torch.tensor([0.0, 1.0]), method="rk5")
    assert kept in SOLVERS


def test_the_tolerance_scale_is_used():
    class Scaled:
        def __getattr__(self, name):
            return getattr(PI, name)

        tolerance_scale = 10.0

    y0, t = torch.tensor([10.0, 5.0], dtype=F64), torch.tensor([0.0, 3.0], dtype=F64)
    scaled, plain = host.method(Scaled()), PI.for_torchdiffeq()
    odeint(predator, y0, t, method=scaled, rtol=1e-7, atol=1e-9)
    odeint(predator, y0, t, method=plain, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(scaled.stats.steps, plain.stats.steps, rtol=1e-9)


@pytest.mark.parametrize(
    ("rtol", "atol", "options", "said"),
    [
        (float("nan"), 1e-6, {}, "rtol must be finite"), (-1e-5, 1e-6, {}, "rtol must be finite and not negative"),
        (0.0, 0.0, {}, "both 0"), (1e-5, 1e-6, {"first_step": -1.0}, "first_step must be positive"),
    ],
)  # fmt: skip
def test_tolerances_and_sizes_that_cannot_be(rtol, atol, options, said):
    method = ss.controller("pi34").for_torchdiffeq()
    with pytest.raises(ValueError, match=said):
        odeint(lambda t, y: -y, torch.ones(1), torch.tensor([0.0, 1.0]), rtol=rtol, atol=atol, method=method,
               options=options)  # fmt: skip
