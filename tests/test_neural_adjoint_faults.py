"""Continuous adjoints where something is wrong: failed samples and the others, backward solves that fail, bad
arguments.
"""

import math

import pytest
import torch

from stepsmith.integrators.kernels.layout import BAD_START, MAX_STEPS, NON_FINITE, SUCCESS
from torch_fields import F64, mlp, odeint, state

CONTINUOUS = ["backsolve", "interpolating"]


def _gradients(func, w, y0, t, rows, adjoint, **options):
    """Gradients in y0 and w of the outputs of `rows`, and the solution."""
    y0 = y0.clone().requires_grad_()
    sol = odeint(func, y0, t, adjoint=adjoint, adjoint_params=[w], **options)
    return torch.autograd.grad(sol.y[:, rows].square().sum(), [y0, w]), sol


both = pytest.mark.parametrize("adjoint", CONTINUOUS)
packed = pytest.mark.parametrize("compact", [False, True])


@both
@packed
def test_a_slope_that_is_nan_at_the_start(adjoint, compact):
    w = torch.tensor(0.7, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[0.5], [-1.0], [0.8]], dtype=F64)

    def func(t, y):
        return w * torch.sqrt(y)

    options = {"rtol": 1e-9, "atol": 1e-11, "compact": compact}
    alone, _ = _gradients(func, w, y0[[0, 2]], [0.0, 1.0, 2.0], [0, 1], adjoint, **options)
    together, sol = _gradients(func, w, y0, [0.0, 1.0, 2.0], [0, 2], adjoint, **options)
    assert sol.status[1] == BAD_START and together[0][1] == 0.0
    torch.testing.assert_close(together[0][[0, 2]], alone[0], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(together[1], alone[1], rtol=1e-11, atol=1e-12)


@both
@packed
def test_a_slope_that_becomes_nan_on_the_way(adjoint, compact):
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)

    def func(t, y):
        return w * torch.where(y > 3.0, torch.log(-y.abs()), 0.2 * y)

    for reached in (False, True):
        y0 = torch.tensor([[0.5], [2.5], [0.8]], dtype=F64, requires_grad=True)
        sol = odeint(
            func, y0, [0.0, 0.5, 2.0], adjoint=adjoint, adjoint_params=[w], compact=compact, rtol=1e-9, atol=1e-11
        )
        assert sol.status.tolist() == [SUCCESS, NON_FINITE, SUCCESS]
        out = sol.y[-1, [0, 2]].sum() + (sol.y[1, 1].sum() if reached else 0.0)
        grads = torch.autograd.grad(out, [y0, w])
        # y = y0 exp(w t / 5)
        times = torch.tensor([[2.0], [0.5 if reached else -math.inf], [2.0]], dtype=F64)
        growth = torch.exp(0.2 * times)
        slope = torch.where(growth > 0, 0.2 * times.clamp(min=0.0) * growth * y0.detach(), 0.0).sum()
        torch.testing.assert_close(grads[0], growth, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(grads[1], slope, rtol=1e-7, atol=1e-9)


@both
@packed
def test_a_sample_that_blows_up(adjoint, compact):
    def func(t, y):
        return y * y

    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[0.5], [5.0], [0.8]], dtype=F64, requires_grad=True)
    sol = odeint(
        lambda t, y: w * func(t, y), y0, [0.0, 0.1, 1.0], adjoint=adjoint, adjoint_params=[w], compact=compact,
        max_steps=60, rtol=1e-8, atol=1e-11,
    )  # fmt: skip
    assert sol.status.tolist() == [SUCCESS, MAX_STEPS, SUCCESS]
    grads = torch.autograd.grad(torch.where(sol.y.isfinite(), sol.y, 0.0).sum(), [y0, w])
    # y = y0 / (1 - w y0 t): derivatives 1 / (1 - y0 t)^2 in y0, t y0^2 / (1 - y0 t)^2 in w
    start, t = y0.detach(), torch.tensor([0.0, 0.1, 1.0], dtype=F64)
    use = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], dtype=F64)
    d = use / (1 - start * t).square()
    torch.testing.assert_close(grads[0], d.sum(1, keepdim=True), rtol=1e-6, atol=0)
    torch.testing.assert_close(grads[1], (d * t * start.square()).sum(), rtol=1e-6, atol=0)


@both
def test_rejected_attempts_through_nan_leave_nothing(adjoint):
    # row 0 attempts steps beyond 1, where slope and derivative are NaN, both ways; row 1 takes its steps meanwhile
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)

    def func(t, y):
        return torch.where(t < 1.0, w * torch.log(2.0 - t), torch.log(-y.abs() - 1.0)) * torch.where(y > 5.0, 0.0, 1.0)

    y0 = torch.tensor([[0.5], [0.1]], dtype=F64, requires_grad=True)
    for span in ([0.0, 0.9], [0.9, 0.0]):
        sol = odeint(func, y0, span, adjoint=adjoint, adjoint_params=[w], rtol=1e-9, atol=1e-11, first_step=0.9)
        grads = torch.autograd.grad(sol.y[-1].sum(), [y0, w])
        # integral of log(2 - t)
        a, b = (2.0 - s for s in span)
        want = 2 * ((a * math.log(a) - a) - (b * math.log(b) - b))
        assert grads[1].item() == pytest.approx(want, rel=1e-6) and torch.equal(grads[0], torch.ones_like(y0))


@both
def test_a_nan_in_the_backward_attempt_of_one_sample(adjoint):
    # backwards, row 1 runs at the wall y = 1 below which everything is NaN; its long first attempts must be taken again
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)

    def func(t, y):
        return w * torch.sqrt(y - 1.0) * 2.0

    # y = 1 + (w t + c)^2 with c = sqrt(y0 - 1)
    y0 = torch.tensor([[5.0], [1.0 + 1e-4]], dtype=F64, requires_grad=True)
    sol = odeint(func, y0, [0.0, 1.0], adjoint=adjoint, adjoint_params=[w], rtol=1e-9, atol=1e-12)
    grads = torch.autograd.grad(sol.y[-1].sum(), [y0, w])
    c = (y0.detach() - 1.0).sqrt()
    torch.testing.assert_close(grads[0], (1 + c) / c, rtol=1e-5, atol=0)
    torch.testing.assert_close(grads[1], (2 * (1 + c)).sum(), rtol=1e-6, atol=0)


@both
def test_a_backward_solve_that_fails_says_so(adjoint):
    field = mlp()
    func = torch.nn.Module()
    func.net = field
    func.forward = lambda t, y: field(y)
    y0 = state().requires_grad_()
    sol = odeint(func, y0, [0.0, 2.0], adjoint=adjoint, adjoint_rtol=1e-12, adjoint_atol=1e-12, max_steps=30, rtol=1e-4)
    assert sol.success
    with pytest.raises(
        RuntimeError, match=rf'adjoint="{adjoint}" failed for \d of 5 samples between t = 2 and t = 0: step limit'
    ):
        sol.y[-1].sum().backward()
    sol = odeint(
        func,
        y0,
        [0.0, 2.0],
        adjoint=adjoint,
        adjoint_rtol=1e-12,
        adjoint_atol=1e-12,
        max_steps=30,
        rtol=1e-4,
        per_sample=False,
    )
    with pytest.raises(RuntimeError, match="failed for the batch"):
        sol.y[-1].sum().backward()


@both
def test_an_infinite_derivative_where_the_backward_solve_starts(adjoint):
    y0 = torch.tensor([[0.0], [1.0]], dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: -torch.sqrt(y), y0, [0.0, 0.5], adjoint=adjoint, adjoint_params=())
    assert sol.success
    with pytest.raises(RuntimeError, match="1 of 2 samples.*not finite"):
        sol.y[-1].sum().backward()
    sol = odeint(lambda t, y: -torch.sqrt(y), y0, [0.0, 0.5], adjoint=adjoint, adjoint_params=())
    (grad,) = torch.autograd.grad(sol.y[-1, 1].sum(), y0)
    # y = (1 - t/2)^2 from 1
    assert grad[0] == 0.0 and grad[1].item() == pytest.approx(0.75, rel=1e-5)


def test_backsolve_drifts_where_the_flow_contracts_and_interpolation_does_not():
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[1.0], [0.3]], dtype=F64, requires_grad=True)
    grads = {}
    for adjoint in ("discrete", *CONTINUOUS):
        params = {} if adjoint == "discrete" else {"adjoint_params": [w]}
        sol = odeint(lambda t, y: -12.0 * (y - w * torch.cos(t)), y0, [0.0, 2.0], adjoint=adjoint, rtol=1e-6, **params)
        if adjoint == "backsolve":
            with pytest.warns(UserWarning, match=r"misses the forward solution at t = 0 by .* tolerances"):
                torch.autograd.grad(sol.y[-1].sum(), w)
        else:
            grads[adjoint] = torch.autograd.grad(sol.y[-1].sum(), w)[0].item()
    assert grads["interpolating"] == pytest.approx(grads["discrete"], rel=1e-4)


@both
def test_a_loss_that_is_not_finite_gives_gradients_that_are_not(adjoint):
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[1.0], [0.3]], dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: -w * y, y0, [0.0, 0.5, 1.0], adjoint=adjoint, adjoint_params=[w])
    grads = torch.autograd.grad((sol.y[-1] * torch.tensor([[math.nan], [1.0]])).sum(), [y0, w])
    assert grads[0][0].isnan() and grads[1].isnan()
    assert grads[0][1].item() == pytest.approx(math.exp(-1.0), rel=1e-5)


@both
def test_nan_weights_are_a_status_and_a_zero_gradient(adjoint):
    w = torch.tensor(math.nan, dtype=F64, requires_grad=True)
    y0 = state().requires_grad_()
    sol = odeint(lambda t, y: w * y, y0, [0.0, 1.0], adjoint=adjoint, adjoint_params=[w])
    assert (sol.status == BAD_START).all() and sol.y[-1].isnan().all()
    grads = torch.autograd.grad(sol.y[-1].sum() + sol.y[0].sum(), [y0, w])
    assert torch.equal(grads[0], torch.ones_like(y0)) and grads[1] == 0.0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"adjoint_params": None}, "func is a function.*adjoint_params"),
        ({"adjoint_params": [1.0]}, "must be tensors, got float"),
        ({"adjoint_rtol": -1.0}, "adjoint_rtol must be a finite number of at least 0"),
        ({"adjoint_rtol": 0.0, "adjoint_atol": 0.0}, "adjoint_rtol and adjoint_atol must not be both zero"),
        ({"checkpoint_every": 4}, 'checkpoint_every belongs to adjoint="discrete"'),
        ({"adjoint": "discrete"}, "adjoint_params belongs to adjoint=backsolve or interpolating, not to 'discrete'"),
        ({"adjoint": "none", "adjoint_params": None, "adjoint_atol": 1e-3}, "adjoint_atol belongs"),
        ({"adjoint": "interpolate"}, "did you mean 'interpolating'"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {
        "func": lambda t, y: -y,
        "y0": state(),
        "t": [0.0, 1.0],
        "adjoint": "backsolve",
        "adjoint_params": (),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        odeint(**arguments)
