"""The torch solver where something is wrong: one sample's failure and the others, statuses, bad arguments."""

import math
import pickle

import numpy as np
import pytest
import torch

from stepsmith.integrators.kernels.layout import BAD_START, MAX_STEPS, NON_FINITE, SUCCESS
from torch_fields import F64, field_of, mlp, odeint, raw_odeint, state, vdp

# -- one sample must not touch another
# ------------------------------------------------------------------------------------


def _others_untouched(func, params, bad, t, status, compact, **options):
    """Solve with and without the bad row 1; compare values and gradients of rows 0 and 2; the bad row must have
    `status`.
    """
    good = torch.tensor([[0.5], [0.8]], dtype=F64)
    mixed = torch.stack([good[0], torch.tensor([bad], dtype=F64), good[1]])
    results = []
    for y0, rows in ((good, [0, 1]), (mixed, [0, 2])):
        y0 = y0.clone().requires_grad_()
        sol = odeint(func, y0, t, compact=compact, **options)
        hx = sol.heuristics
        loss = sol.y[:, rows].sum() + hx.R_E[rows].sum() + hx.R_S[rows].sum()
        grads = torch.autograd.grad(loss, [y0, *params])
        results.append([sol.y[:, rows], grads[0][rows], *grads[1:]])
    for a, b in zip(*results, strict=True):
        assert torch.isfinite(a).all()
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    assert sol.status.tolist() == [SUCCESS, status, SUCCESS]
    assert not sol.success and "1 of 3" in sol.message
    return sol


@pytest.mark.parametrize("compact", [False, True])
def test_a_slope_that_is_nan_at_the_start(compact):
    w = torch.tensor(0.7, dtype=F64, requires_grad=True)
    sol = _others_untouched(lambda t, y: w * torch.sqrt(y), [w], -1.0, [0.0, 1.0, 2.0], BAD_START, compact)
    assert sol.y[1:, 1].isnan().all() and sol.y[0, 1] == -1.0 and sol.t_last[1] == 0.0
    assert sol.stats.naccept_per_sample[1] == 0


@pytest.mark.parametrize("compact", [False, True])
def test_a_slope_that_becomes_nan_on_the_way(compact):
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)

    def func(t, y):
        # beyond 3 the slope is NaN and its derivative too
        return w * torch.where(y > 3.0, torch.log(-y.abs()), 0.2 * y)

    sol = _others_untouched(func, [w], 2.5, [0.0, 0.5, 2.0], NON_FINITE, compact)
    assert sol.y[1, 1].isfinite().all() and sol.y[2, 1].isnan().all()
    assert sol.t_last[1] == pytest.approx(5 * math.log(3 / 2.5), rel=1e-6)
    assert sol.y_last[1].item() == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("compact", [False, True])
def test_a_sample_that_blows_up(compact):
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    good = _others_untouched(
        lambda t, y: w * y * y, [w], 5.0, [0.0, 0.1, 1.0], MAX_STEPS, compact, max_steps=60, rtol=1e-8
    )
    assert good.y[1, 1].item() == pytest.approx(10.0, rel=1e-6)
    assert good.t_last[1] < 0.2 + 1e-9


def test_a_finished_sample_at_an_infinite_derivative_waits_elsewhere():
    # sample 0 is done after one step and rests at sqrt's infinite derivative only if the solver were to evaluate it at
    # 0
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)

    def func(t, y):
        return w * torch.where(y > 1.0, torch.sin(40.0 * y), torch.ones_like(y))

    y0 = torch.tensor([[0.0], [1.5]], dtype=F64, requires_grad=True)
    sol = odeint(func, y0, [0.0, 0.2])
    steps = sol.stats.naccept_per_sample
    assert steps[0] < steps[1]
    grads = torch.autograd.grad(sol.y[-1].sum() + sol.heuristics.R_E.sum() + sol.heuristics.R_S.sum(), [y0, w])
    assert all(g.isfinite().all() for g in grads)
    assert grads[0][0].item() == pytest.approx(1.0) and sol.y[-1, 0].item() == pytest.approx(0.2)
    assert (sol.heuristics.E[steps[0] :, 0] == 0).all() and (sol.heuristics.h[steps[0] :, 0] == 0).all()


def test_zero_field_has_zero_error_and_a_finite_gradient():
    w = torch.tensor(0.0, dtype=F64, requires_grad=True)
    y0 = state(3).requires_grad_()
    sol = odeint(lambda t, y: w * y, y0, [0.0, 1.0])
    (sol.heuristics.R_E.sum() + sol.heuristics.R_E2.sum() + sol.heuristics.R_S.sum() + sol.y[-1].sum()).backward()
    assert torch.equal(sol.y[-1], y0) and torch.isfinite(w.grad) and torch.equal(y0.grad, torch.ones_like(y0))


def test_a_coupled_batch_fails_as_one():
    y0 = torch.tensor([[0.5], [-1.0]], dtype=F64)
    sol = odeint(lambda t, y: torch.sqrt(y), y0, [0.0, 1.0], per_sample=False)
    assert not sol.success and sol.status.tolist() == [BAD_START] * 2 and sol.y[1].isnan().all()
    assert "not finite at the initial state" in sol.message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_initial_values_that_are_not_finite(value):
    y0 = state(4)
    y0[2, 1] = value
    sol = odeint(field_of(mlp()), y0, [0.0, 1.0])
    assert sol.status.tolist() == [SUCCESS, SUCCESS, BAD_START, SUCCESS]
    assert sol.y[-1, [0, 1, 3]].isfinite().all() and sol.y[-1, 2].isnan().all()


def test_a_field_that_is_nan_everywhere_ends_at_once():
    sol = odeint(lambda t, y: y * math.nan, state(), [0.0, 1.0])
    assert (sol.status == BAD_START).all() and sol.stats.naccept == 0 and sol.y[1:].isnan().all()


def test_max_steps_is_a_status_with_the_last_good_state():
    sol = odeint(vdp, torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=F64), [0.0, 50.0], max_steps=20)
    assert sol.status.tolist() == [MAX_STEPS, SUCCESS]
    assert sol.stats.naccept_per_sample[0] + sol.stats.nreject_per_sample[0] == 20
    assert 0 < sol.t_last[0] < 50 and sol.y_last[0].isfinite().all() and sol.y[-1, 0].isnan().all()


# -- arguments
# -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"t": [0.0, 0.0]}, "a time twice"),
        ({"t": [0.0, 1.0, 1.0]}, "a time twice"),
        ({"t": [0.0, 1.0, 0.5]}, "turns back"),
        ({"t": [0.0]}, "at least two times"),
        ({"t": [0.0, math.nan]}, "finite"),
        ({"y0": torch.zeros(0, 3, dtype=F64)}, "empty"),
        ({"y0": torch.zeros(2, 3, dtype=torch.int64)}, "float32 or float64"),
        ({"y0": np.zeros((2, 3))}, "must be a tensor"),
        ({"rtol": -1e-3}, "rtol must be a finite number of at least 0"),
        ({"atol": math.nan}, "finite"),
        ({"rtol": 0.0, "atol": 0.0}, "must not be both zero"),
        ({"method": "tsit6"}, "tsit5"),
        ({"controller": "pi43"}, "pi34"),
        ({"adjoint": "backsolv"}, "did you mean 'backsolve'"),
        ({"first_step": 0.0}, "first_step"),
        ({"max_steps": 0}, "max_steps"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"compact": True, "per_sample": False}, "per_sample"),
        ({"func": lambda t, y: y[:, :2]}, r"shape \(5, 3\)"),
        ({"func": lambda t, y: y.float()}, "float32"),
        ({"func": lambda t, y: 0.0}, "must return a tensor"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"func": lambda t, y: -y, "y0": state(), "t": [0.0, 1.0], **change}
    with pytest.raises(ValueError, match=message):
        odeint(**arguments)


def test_a_name_needs_a_resolver_and_a_controller_its_parts():
    with pytest.raises(ValueError, match="is a name"):
        raw_odeint(lambda t, y: -y, state(), torch.tensor([0.0, 1.0]))
    with pytest.raises(TypeError, match="lacks params, n_state, phases"):
        raw_odeint(lambda t, y: -y, state(), torch.tensor([0.0, 1.0]), controller=object())


# -- solutions that travel
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"checkpoint_every": 2}, {"adjoint": "backsolve"}, {"per_sample": False}, {"adjoint": "none"}]
)
def test_a_solution_is_pickled_without_its_field_and_counts_go_on(options):
    class Local(torch.nn.Module):
        """Not to be pickled: its class has no place to be found at."""

        def __init__(self):
            super().__init__()
            self.net, self.calls = mlp(), 0

        def forward(self, t, y):
            self.calls += 1
            return self.net(y)

    field = Local()
    sol = odeint(field, state(), torch.tensor([0.0, 1.0], dtype=F64), rtol=1e-4, atol=1e-4, **options)
    before = sol.stats.nfev_replay + sol.stats.nfev_backward
    again = pickle.loads(pickle.dumps(sol))
    assert torch.equal(again.y, sol.y) and torch.equal(again.heuristics.h, sol.heuristics.h)
    assert again.stats.nfev == sol.stats.nfev and again.stats.nfev_replay + again.stats.nfev_backward == before
    assert sol.stats.nfev + before == field.calls
    if sol.y.requires_grad:
        sol.y.sum().backward()
        spent = sol.stats.nfev_replay + sol.stats.nfev_backward
        assert sol.stats.nfev + spent == field.calls and again.stats.nfev_replay + again.stats.nfev_backward == before
        assert (spent > before) == ("checkpoint_every" in options or options.get("adjoint") == "backsolve")
