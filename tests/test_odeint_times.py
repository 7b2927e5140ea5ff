"""Gradients in the times of `neural.odeint`, and times, spans and directions of every sample."""

import math

import numpy as np
import pytest
import torch
import torchdiffeq

import stepsmith as ss
from stepsmith.neural import torchdiffeq as face
from torch_fields import F64, vdp

odeint = ss.neural.odeint
TOL = {"rtol": 1e-9, "atol": 1e-9}
ROUTES = [
    {},
    {"compact": True},
    {"checkpoint_every": 2},
    {"per_sample": False},
    {"adjoint": "backsolve"},
    {"adjoint": "interpolating"},
    {"adjoint": "backsolve", "per_sample": False},
    {"method": "dop853"},
]


class Swing(torch.nn.Module):
    """y' = w y cos(t), y = y0 exp(w (sin t - sin t0))."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(-0.8, dtype=F64))

    def forward(self, t, y):
        return self.w * y * torch.cos(t)

    def exact(self, y0, t):
        shift = (torch.sin(t) - torch.sin(t[0])) * self.w
        return y0 * torch.exp(shift.reshape(len(t), -1, *(1,) * (y0.dim() - 1)))


def start(batch=4):
    return torch.randn(batch, 2, dtype=F64, generator=torch.Generator().manual_seed(5)).requires_grad_()


def weights(*shape):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("options", ROUTES)
def test_gradients_in_the_times_are_those_of_the_exact_solution(options):
    func, y0 = Swing(), start()
    t = torch.tensor([0.2, 0.9, 1.7, 2.6], dtype=F64, requires_grad=True)
    sol = odeint(func, y0, t, **{**TOL, **options})
    w, inputs = weights(4, 4, 2), [t, y0, func.w]
    found = torch.autograd.grad((w * sol.y).sum(), inputs)
    expected = torch.autograd.grad((w * func.exact(y0, t)).sum(), inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    again = odeint(func, y0, t.detach(), **{**TOL, **options})
    assert torch.equal(again.y, sol.y)  # no number is another


def test_gradients_in_the_times_are_torchdiffeqs_for_one_system_and_a_tree():
    func = Swing()
    t = torch.tensor([0.2, 0.9, 2.6], dtype=F64, requires_grad=True)
    y0 = (torch.tensor(0.7, dtype=F64), torch.tensor([1.0, -2.0], dtype=F64))

    def pair(t, s):
        return func(t, s[0]), func(t, s[1])

    ours = odeint(pair, y0, t, **TOL).y
    theirs = torchdiffeq.odeint(pair, y0, t, rtol=1e-10, atol=1e-10)
    found, expected = (torch.autograd.grad((y[0].square().sum() + y[1].prod(1).sum()), t)[0] for y in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_gradients_in_large_times_of_float32_states():
    t = torch.tensor([1e9, 1e9 + 3.0], dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: torch.cos(t - 1e9).to(y.dtype) + 0 * y, torch.zeros(1, 1), t, rtol=1e-6, atol=1e-6)
    (g,) = torch.autograd.grad(sol.y[-1].sum(), t)
    torch.testing.assert_close(g, torch.tensor([-1.0, math.cos(3.0)], dtype=F64), rtol=1e-6, atol=1e-6)


def test_second_derivatives_in_the_times_are_refused():
    t = torch.tensor([0.2, 0.9], dtype=F64, requires_grad=True)
    y = odeint(Swing(), start(), t, **TOL).y
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), t, create_graph=True)


def test_a_sample_that_fails_leaves_the_gradient_in_the_times_finite():
    t = torch.tensor([0.0, 0.01, 1.0], dtype=F64, requires_grad=True)
    y0 = torch.tensor([[0.5], [5.0]], dtype=F64)
    sol = odeint(lambda t, y: y**3, y0, t, max_steps=60, rtol=1e-9, atol=1e-9)
    assert sol.status[1] < 0
    (g,) = torch.autograd.grad(sol.y[:, 0].sum() + sol.y[1, 1].sum(), t)
    at = [0.5 / math.sqrt(1 - 0.5 * x) for x in (0.01, 1.0)]
    fast = 5.0 / math.sqrt(1 - 50.0 * 0.01)
    expected = [at[0] ** 3 + fast**3, at[1] ** 3]
    torch.testing.assert_close(g[1:], torch.tensor(expected, dtype=F64), rtol=1e-6, atol=0.0)


# -- times of every sample ---------------------------------------------------------------------------------------------

TABLE = torch.tensor(
    [[0.0, 1.0, 0.5, -1.0], [1.0, 0.3, 1.5, -1.1], [2.0, -1.0, 9.0, -1.2], [2.5, -1.5, 30.0, -1.3]], dtype=F64
)


@pytest.mark.parametrize("options", [route for route in ROUTES if "per_sample" not in route])
def test_every_sample_has_its_own_times_and_is_solved_as_alone(options):
    options = {**TOL, **options}
    func, y0, t = Swing(), start(), TABLE.clone().requires_grad_()
    sol = odeint(func, y0, t, **options)
    assert sol.success and torch.equal(sol.t, t) and sol.y.shape == (4, 4, 2)
    np.testing.assert_array_equal(sol.t_last, TABLE[-1].numpy())
    w, inputs = weights(4, 4, 2), [t, y0, func.w]
    found = torch.autograd.grad((w * sol.y).sum(), inputs)
    expected = torch.autograd.grad((w * func.exact(y0, t)).sum(), inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for i in range(4):
        alone = odeint(func, y0[i : i + 1], t[:, i], **{**options, "per_sample": True})
        torch.testing.assert_close(sol.y[:, i], alone.y[:, 0], rtol=1e-12, atol=1e-12)
        assert sol.stats.naccept_per_sample[i] == alone.stats.naccept
        assert sol.stats.nfev_per_sample[i] == alone.stats.nfev_per_sample[0]
        assert sol.heuristics.R_E[i].item() == pytest.approx(alone.heuristics.R_E[0].item(), rel=1e-9)
        one = torch.autograd.grad((w[:, i] * alone.y[:, 0]).sum(), [t, y0])
        torch.testing.assert_close((found[0][:, i], found[1][i]), (one[0][:, i], one[1][i]), rtol=1e-7, atol=1e-9)


def test_stiffer_samples_in_opposite_directions_under_every_option():
    y0 = torch.tensor([[2.0, 0.0], [1.0, 0.3], [-2.0, 0.5]], dtype=F64)
    t = torch.tensor([[0.0, 4.0, 1.0], [7.0, 4.5, 1.01]], dtype=F64)
    for options in ({"even_steps": True}, {"compact": True, "checkpoint_every": 3}, {"max_step": 0.2}):
        sol = odeint(vdp, y0, t, rtol=1e-7, atol=1e-7, **options)
        for i in range(3):
            alone = odeint(vdp, y0[i : i + 1], t[:, i], rtol=1e-7, atol=1e-7, **options)
            torch.testing.assert_close(sol.y[:, i], alone.y[:, 0], rtol=1e-9, atol=1e-9)
            assert sol.stats.naccept_per_sample[i] == alone.stats.naccept


@pytest.mark.parametrize("options", [{}, {"compact": True}, {"checkpoint_every": 2}])
def test_times_of_every_sample_without_fsal(options):
    func, y0, t = Swing(), start(), TABLE.clone().requires_grad_()
    options = {"method": "fehlberg2", "rtol": 1e-5, "atol": 1e-5, **options}
    sol, w = odeint(func, y0, t, **options), weights(4, 4, 2)
    found = torch.autograd.grad((w * sol.y).sum(), [t, y0])
    for i in range(4):
        alone = odeint(func, y0[i : i + 1], t[:, i], **{**options, "per_sample": True})
        torch.testing.assert_close(sol.y[:, i], alone.y[:, 0], rtol=1e-12, atol=1e-12)
        assert sol.stats.nfev_per_sample[i] == alone.stats.nfev_per_sample[0]
        one = torch.autograd.grad((w[:, i] * alone.y[:, 0]).sum(), [t, y0])
        torch.testing.assert_close((found[0][:, i], found[1][i]), (one[0][:, i], one[1][i]), rtol=1e-9, atol=1e-12)


def test_first_steps_of_every_sample_are_taken():
    first = torch.tensor([0.1, 0.2, 0.05, 0.01], dtype=F64)
    sol = odeint(Swing(), start(), TABLE, first_step=first, rtol=1e-4, atol=1e-4)
    assert sol.heuristics.h[0].tolist() == first.tolist()
    again = odeint(Swing(), start(), TABLE, first_step=sol.stats.first_step, rtol=1e-4, atol=1e-4)
    eased = {"even_steps": True, "tolerance": "torchdiffeq", "rtol": 1e-5, "atol": 1e-5}
    assert odeint(Swing(), start(), TABLE, first_step=sol.stats.first_step, **eased).success
    assert again.success and (again.stats.naccept_per_sample <= sol.stats.naccept_per_sample).all()
    for wrong in (first[:3], -first, [0.1, 0.2, float("nan"), 1.0], ["a"] * 4):
        with pytest.raises(ValueError, match="first_step must be a positive number, or with steps per sample"):
            odeint(Swing(), start(), TABLE, first_step=wrong)
    with pytest.raises(ValueError, match="first_step must be a positive number"):
        odeint(Swing(), start(), TABLE[:, 0], per_sample=False, first_step=first)


def test_func_gets_every_samples_own_time():
    seen = []

    def func(t, y):
        seen.append(t.clone())
        return -y * t

    odeint(func, start(3), torch.tensor([[0.0, 5.0, -2.0], [1.0, 4.0, -3.0]], dtype=F64), adjoint="none")
    times = torch.cat(seen, 1)[:, :, None].squeeze(-1)
    assert all(t.shape == (3, 1) for t in seen)
    low, high = torch.tensor([0.0, 4.0, -3.0], dtype=F64), torch.tensor([1.0, 5.0, -2.0], dtype=F64)
    assert (times.amin(1) >= low - 1e-12).all() and (times.amax(1) <= high + 1e-12).all()
    assert len(set(seen[0].flatten().tolist())) == 3


def test_times_keep_their_dtype_and_float32_states_get_float64_times_where_they_must():
    kinds = []

    def func(t, y):
        kinds.append(t.dtype)
        return torch.cos(t.to(y.dtype)) + 0.0 * y

    table = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=F64)
    sol = odeint(func, torch.zeros(2, 1), table, rtol=1e-4, atol=1e-4, adjoint="none")
    assert sol.t.dtype == F64 and set(kinds) == {torch.float32}
    kinds.clear()
    odeint(func, torch.zeros(2, 1), table + 1e9, rtol=1e-4, atol=1e-4, adjoint="none")
    assert set(kinds) == {F64}


@pytest.mark.parametrize(
    "t, options, said",
    [
        (TABLE[:, :3], {}, "T times for each of 4 samples"),
        (TABLE, {"per_sample": False}, "per_sample=True"),
        (TABLE[:1], {}, "at least two times"),
        (TABLE[[0, 1, 0]], {}, "turns back"),
        (TABLE[[0, 0]], {}, "holds a time twice"),
        (TABLE[:, :, None], {}, "at least two times"),
    ],
)
def test_times_that_do_not_fit_are_refused(t, options, said):
    with pytest.raises(ValueError, match=said):
        odeint(Swing(), start(), t, **options)
    if said == "per_sample=True":
        with pytest.raises(ValueError, match=said):
            odeint(Swing(), torch.ones(4, dtype=F64), t)


def inside(t, y):
    """y' = y for t in (0, 1), and far from that elsewhere."""
    return torch.where((t > 0.0) & (t < 1.0), 1.0, 1e6) * y


@pytest.mark.parametrize("options", [
    {}, {"per_sample": False}, {"adjoint": "backsolve", "adjoint_params": ()}, {"adjoint": "interpolating",
    "adjoint_params": ()}, {"per_sample": True, "times": 2},
])  # fmt: skip
@pytest.mark.parametrize("back", [False, True])
def test_derivatives_in_times_at_which_the_field_jumps_are_those_of_the_solve(options, back):
    """y(t1) = exp(t1 - t0) y0, whose field is never asked at the jumps, nor beyond them."""
    options = dict(options)
    t = torch.tensor([1.0, 0.0] if back else [0.0, 1.0], dtype=F64)
    t = (torch.stack([t] * 2, 1) if options.pop("times", None) else t).requires_grad_()
    y0 = torch.ones(2, 1, dtype=F64)
    y = odeint(inside, y0, t, rtol=1e-9, atol=1e-9, jump_t=[0.0, 1.0], **options).y
    exact = torch.exp(t[-1] - t[0]).reshape(-1, 1) * y0
    found, expected = (torch.autograd.grad(x[-1].sum(), t)[0] for x in (y, exact[None]))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("solve", [face.odeint, face.odeint_adjoint])
@pytest.mark.parametrize("back", [False, True])
def test_they_are_in_torchdiffeqs_calls_too(solve, back, dtype):
    t = torch.tensor([1.1, 0.1] if back else [0.1, 1.1], dtype=F64, requires_grad=True)
    y0 = torch.ones(2, dtype=dtype)
    low, high = (torch.tensor(x, dtype=dtype) for x in (0.1, 1.1))
    given = {} if solve is face.odeint else {"adjoint_params": ()}
    y = solve(
        lambda t, y: torch.where((t > low) & (t < high), 1.0, 1e6) * y, y0, t, rtol=1e-6, atol=1e-6,
        options={"jump_t": torch.tensor([0.1, 1.1], dtype=F64)}, **given,
    )  # fmt: skip
    (g,) = torch.autograd.grad(y[-1].sum(), t)
    whole = 2 * math.exp(-1.0 if back else 1.0)
    torch.testing.assert_close(g, torch.tensor([-whole, whole], dtype=F64), rtol=1e-4, atol=0.0)


def test_an_event_at_a_jump_moves_with_the_field_before_it():
    end = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.ones(2, 1, dtype=F64, requires_grad=True)
    options = {"rtol": 1e-9, "atol": 1e-9, "jump_t": [1.0]}
    half = lambda t, y: torch.where(t < 1.0, 1.0, 1e6) * y  # noqa: E731
    sol = odeint(half, y0, [0.0, 2.0], event_fn=lambda t, y: t.reshape(-1).expand(2) - end, **options)
    assert sol.event_t.tolist() == [1.0, 1.0]
    (g,) = torch.autograd.grad(sol.event_y.sum(), end, retain_graph=True)
    assert g.item() == pytest.approx(2 * math.e, rel=1e-6)
    sol = odeint(half, y0, [0.0, 2.0], event_fn=lambda t, y: y[:, 0] - math.e * end, **options)
    (g,) = torch.autograd.grad(sol.event_t.sum(), y0)
    torch.testing.assert_close(g, torch.full_like(g, -1.0), rtol=1e-6, atol=0.0)
