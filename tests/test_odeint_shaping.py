"""What shapes the steps of `neural.odeint`: tolerances of components, norms, limits, and times that steps end at."""

import math

import numpy as np
import pytest
import torch
import torchdiffeq

import stepsmith as ss
from stepsmith.integrators.neural.estimates import ScaledError
from stepsmith.neural import torchdiffeq as face
from torch_fields import F64, field_of, mlp, state, vdp

odeint = ss.neural.odeint
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)


# -- tolerances of components ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_sample", [True, False])
def test_tolerances_of_components_scale_the_state(per_sample):
    """y' = f(y) under atol s_i is the problem in units of s_i under one atol."""
    scale, net = torch.tensor([1.0, 1e-3, 1e2], dtype=F64), mlp()
    y0 = state()
    plain = odeint(field_of(net), y0, T, rtol=1e-14, atol=1e-4, per_sample=per_sample)
    sol = odeint(
        lambda t, y: scale * field_of(net)(t, y / scale), y0 * scale, T, rtol=1e-14, atol=1e-4 * scale,
        per_sample=per_sample,
    )  # fmt: skip
    np.testing.assert_array_equal(sol.stats.naccept_per_sample, plain.stats.naccept_per_sample)
    torch.testing.assert_close(sol.y / scale, plain.y, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sol.heuristics.E, plain.heuristics.E, rtol=1e-6, atol=1e-9)
    found, expected = (torch.autograd.grad(s.heuristics.R_E.sum(), net[0].weight)[0] for s in (sol, plain))
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("rtol, atol", [([1e-4, 1e-6], 1e-8), (1e-5, [1e-3, 1e-9]), ([1e-3, 0.0], [0.0, 1e-7])])
def test_the_gradient_of_the_scaled_error_with_tolerances_of_components(rtol, atol):
    e, y, y1 = (torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(i)) for i in range(3))
    r, a = (torch.tensor(x, dtype=F64) if isinstance(x, list) else x for x in (rtol, atol))
    for x in (e, y, y1):
        x.requires_grad_()
    found = ScaledError.apply(e, y, y1, r, a)
    expected = (e / (a + r * torch.maximum(y.abs(), y1.abs()))).square().mean(1).sqrt()
    torch.testing.assert_close(found, expected)
    w = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=F64)
    one, two = (torch.autograd.grad((w * x).sum(), (e, y, y1), create_graph=True) for x in (found, expected))
    torch.testing.assert_close(one, two)
    again = [torch.autograd.grad(sum(g.square().sum() for g in grads), (e, y1)) for grads in (one, two)]
    torch.testing.assert_close(*again)


def test_tolerances_take_torchdiffeqs_steps_and_the_form_of_the_state():
    y0 = (torch.tensor([1.0], dtype=F64), torch.tensor([100.0, 1.0], dtype=F64))
    rtol = (torch.tensor(1e-5, dtype=F64), torch.tensor([1e-3, 1e-7], dtype=F64))

    def func(t, s):
        return -s[0] * 3, torch.cat([s[1][1:], -s[1][:1]])

    sol = odeint(func, y0, T, "bosh3", "torchdiffeq", rtol=rtol, atol=1e-9)
    calls = []

    def counted(t, s):
        calls.append(t)
        return func(t, s)

    theirs = torchdiffeq.odeint(counted, y0, T, rtol=rtol, atol=1e-9, method="bosh3")
    assert abs(sol.stats.nfev - len(calls)) <= 6
    torch.testing.assert_close(sol.y, theirs, rtol=1e-4, atol=1e-4)
    tight = odeint(func, y0, T, "bosh3", "torchdiffeq", rtol=1e-7, atol=1e-9)
    assert tight.stats.nfev > 1.5 * sol.stats.nfev


def test_tolerances_per_sample_broadcast_to_a_sample_of_any_axes():
    y0 = torch.randn(4, 3, 2, dtype=F64)
    func = lambda t, y: torch.sin(3 * y)  # noqa: E731
    whole = odeint(func, y0, T, rtol=torch.full((3, 2), 1e-5, dtype=F64), atol=1e-6)
    for rtol in (torch.full((2,), 1e-5), torch.full((3, 1), 1e-5, dtype=F64), 1e-5):
        sol = odeint(func, y0, T, rtol=rtol, atol=1e-6)
        np.testing.assert_array_equal(sol.stats.naccept_per_sample, whole.stats.naccept_per_sample)
        torch.testing.assert_close(sol.y, whole.y, rtol=1e-7, atol=1e-9)
    backward = odeint(func, y0.requires_grad_(), T, rtol=torch.tensor([1e-3, 1e-6], dtype=F64), atol=1e-6,
                      adjoint="backsolve", adjoint_params=())  # fmt: skip
    (g,) = torch.autograd.grad(backward.y[-1].sum(), y0)
    (e,) = torch.autograd.grad(odeint(func, y0, T, rtol=1e-9, atol=1e-9).y[-1].sum(), y0)
    torch.testing.assert_close(g, e, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"rtol": torch.tensor([1e-3, 1e-3, 1e-3, 1e-3], dtype=F64)}, "rtol must be a number, or a tensor"),
        ({"rtol": torch.tensor([1e-3, -1.0, 0.1], dtype=F64)}, "between 0 and 1"),
        ({"rtol": torch.tensor([1e-3, 2.0, 0.1], dtype=F64)}, "between 0 and 1"),
        ({"atol": [1e-3, float("nan"), 0.1]}, "between 0 and 1 and atol be finite"),
        ({"rtol": [0.0, 1e-3, 1e-3], "atol": [0.0, 0.0, 0.0]}, "both zero in a component"),
        ({"atol": "tight"}, "atol must be"),
        ({"adjoint": "backsolve", "adjoint_params": (), "adjoint_rtol": torch.ones(3)}, "adjoint_rtol must be one num"),
        (
            {"adjoint": "backsolve", "adjoint_params": (), "rtol": [0.0, 0.1, 0.1], "atol": [0.1, 0.0, 0.1]},
            "both zero here: pass one",
        ),
    ],
)
def test_tolerances_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        odeint(field_of(mlp()), state(), T, **options)


# -- norms -------------------------------------------------------------------------------------------------------------


def test_a_norm_of_ones_own_chooses_the_steps_and_E_is_in_it():
    net, y0 = mlp(), state()
    loose = {"rtol": 1e-3, "atol": 1e-3, "per_sample": False}

    def root_mean_square(x):
        return x.square().mean().sqrt()

    plain = odeint(field_of(net), y0, T, **loose)
    same = odeint(field_of(net), y0, T, **loose, norm=root_mean_square)
    assert same.stats.naccept == plain.stats.naccept
    torch.testing.assert_close(same.y, plain.y, rtol=1e-12, atol=1e-12)
    found, expected = (torch.autograd.grad(s.heuristics.R_E, net[0].weight)[0] for s in (same, plain))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)
    largest = odeint(field_of(net), y0, T, **loose, norm=lambda x: x.abs().amax())
    assert largest.stats.naccept > plain.stats.naccept
    first = odeint(field_of(net), y0, T, **loose, norm=lambda x: x[0].square().mean().sqrt())
    alone = odeint(field_of(net), y0[0], T, rtol=1e-3, atol=1e-3)
    assert first.stats.naccept == alone.stats.naccept  # the other samples have no say
    checked = odeint(field_of(net), y0, T, **loose, norm=root_mean_square, checkpoint_every=2)
    torch.testing.assert_close(checked.heuristics.E, plain.heuristics.E, rtol=1e-7, atol=1e-12)


def test_a_norm_of_a_tree_gets_the_tree_and_one_per_sample_is_refused():
    seen = []

    def norm(s):
        seen.append(s)
        return s["a"].abs().max()

    y0 = {"a": torch.ones(2, dtype=F64), "b": torch.ones(3, dtype=F64)}
    odeint(lambda t, s: {"a": -s["a"], "b": s["b"]}, y0, T, norm=norm)
    assert seen and seen[0]["b"].shape == (3,)
    with pytest.raises(ValueError, match="one step size for all: per_sample=False"):
        odeint(vdp, torch.ones(2, 2, dtype=F64), T, norm=norm)
    with pytest.raises(ValueError, match="norm must be a function of the state"):
        odeint(vdp, torch.ones(2, 2, dtype=F64), T, norm="seminorm")


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "said"), [(lambda e: e.abs(), "one number"), (lambda e: e.mul_(2.0).abs().max(), "must not modify")]
)
@pytest.mark.parametrize("adjoint", ["discrete", "none"])
def test_what_is_no_norm_is_refused(norm, said, adjoint):
    with pytest.raises(ValueError, match=f"norm {said}|norm must return {said}"):
        odeint(field_of(mlp()), state(), T, per_sample=False, norm=norm, adjoint=adjoint)
    with pytest.raises(ValueError, match="norm must"):
        face.odeint(field_of(mlp()), state(), T, options={"norm": norm})


@pytest.mark.parametrize("per_sample", [True, False])
def test_steps_stay_between_the_limits(per_sample):
    y0 = torch.tensor([[2.0, 0.0], [0.1, 0.0]], dtype=F64)
    t = torch.tensor([0.0, 6.0], dtype=F64)
    free = odeint(vdp, y0, t, rtol=1e-6, atol=1e-6, per_sample=per_sample, adjoint="none")
    sizes = free.heuristics.h[free.heuristics.h > 0]
    low, high = float(sizes.quantile(0.3)), float(sizes.quantile(0.7))
    sol = odeint(vdp, y0, t, rtol=1e-6, atol=1e-6, per_sample=per_sample, min_step=low, max_step=high)
    h, e = sol.heuristics.h.reshape(len(sol.heuristics.h), -1), sol.heuristics.E.reshape(len(sol.heuristics.h), -1)
    for lane, count in enumerate(sol.stats.naccept_per_sample[: h.shape[1]]):
        assert (h[:count, lane] <= high * (1 + 1e-12)).all() and (h[: count - 1, lane] >= low * (1 - 1e-12)).all()
        # above the tolerance only where the least size forced it
        assert (h[:count, lane][e[:count, lane] > 1.0] <= low * (1 + 1e-12)).all()
    assert sol.success and (e > 1.0).any()


def test_a_pulse_that_long_steps_miss_is_seen_with_max_step():
    def pulse(t, y):
        return torch.exp(-(((t - 5.0) / 0.05) ** 2)) + 0.0 * y

    y0 = torch.zeros(2, 1, dtype=F64)
    t = torch.tensor([0.0, 10.0], dtype=F64)
    area = 0.05 * math.sqrt(math.pi)
    assert odeint(pulse, y0, t).y[-1].abs().max() < 0.01 * area
    torch.testing.assert_close(odeint(pulse, y0, t, max_step=0.05).y[-1], torch.full((2, 1), area, dtype=F64))


# -- times that steps end at -------------------------------------------------------------------------------------------


class Switched(torch.nn.Module):
    """y' = a y before t = 1 and y' = -b y after it, y = exp(a) exp(-b (t - 1))."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(0.7, dtype=F64))
        self.b = torch.nn.Parameter(torch.tensor(1.9, dtype=F64))
        self.calls = []

    def forward(self, t, y):
        self.calls.append(t.detach().flatten())
        return torch.where(t < 1.0, self.a, -self.b) * y

    def exact(self, y0, t):
        before, after = t.clamp(max=1.0) - t[0].clamp(max=1.0), t.clamp(min=1.0) - t[0].clamp(min=1.0)
        return y0 * torch.exp(self.a * before - self.b * after).reshape(len(t), -1, 1)


ROUTES = [
    {"per_sample": False}, {}, {"compact": True}, {"checkpoint_every": 1}, {"adjoint": "backsolve"},
    {"adjoint": "interpolating"}, {"adjoint": "backsolve", "per_sample": False}, {"method": "dop853"},
    {"method": "adaptive_heun", "rtol": 1e-6, "atol": 1e-6}, {"even_steps": True},
]  # fmt: skip


@pytest.mark.parametrize("options", ROUTES)
def test_a_field_that_jumps_is_solved_as_two_smooth_ones(options):
    func = Switched()
    y0 = torch.tensor([[1.0], [2.0], [-1.0]], dtype=F64, requires_grad=True)
    t = torch.tensor([0.0, 0.5, 1.0, 1.7, 2.5], dtype=F64)
    rough = "method" in options and options["method"] == "adaptive_heun"
    options = {"rtol": 1e-10, "atol": 1e-10, **options}
    sol = odeint(func, y0, t, jump_t=[1.0], **options)
    torch.testing.assert_close(sol.y, func.exact(y0, t), rtol=1e-4 if rough else 1e-8, atol=1e-9)
    assert sol.stats.nreject <= 4 * len(y0)
    starts = sol.heuristics.t.reshape(len(sol.heuristics.t), -1)
    assert ((starts == 1.0).sum(0) >= 1).all()
    inputs = [y0, func.a, func.b]
    w = torch.randn(5, 3, 1, dtype=F64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((w * sol.y).sum(), inputs)
    expected = torch.autograd.grad((w * func.exact(y0, t)).sum(), inputs)
    torch.testing.assert_close(found, expected, rtol=1e-3 if rough else 1e-6, atol=1e-7)
    # func is never asked at the jump itself, where it would have to choose a side
    assert not any((calls == 1.0).any() for calls in func.calls)


def test_jumps_with_times_of_every_sample_backwards_too_and_in_float32():
    func, t = Switched(), torch.tensor([[0.0, 2.0, 1.0], [2.0, 0.3, 1.6]], dtype=F64)
    y0 = torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)
    sol = odeint(func, y0, t, jump_t=torch.tensor([1.0]), rtol=1e-10, atol=1e-10)
    for i in range(3):
        torch.testing.assert_close(sol.y[:, i], func.exact(y0[i], t[:, i])[:, 0], rtol=1e-8, atol=0.0)
    single = odeint(func.float(), y0.float(), t, jump_t=[1.0], rtol=1e-5, atol=1e-6, adjoint="none")
    torch.testing.assert_close(single.y.double(), sol.y, rtol=1e-4, atol=1e-4)
    assert single.stats.nreject <= 4


@pytest.mark.parametrize("per_sample", [True, False])
def test_steps_end_where_they_are_told_to_and_it_costs_no_more_slopes_than_steps(per_sample):
    y0, t = torch.tensor([[2.0, 0.0], [0.1, 0.0]], dtype=F64), torch.tensor([0.0, 3.0], dtype=F64)
    stops = [2.9, 0.1, -4.0, 1.7]
    sol = odeint(vdp, y0, t, rtol=1e-6, atol=1e-6, per_sample=per_sample, step_t=stops)
    starts = sol.heuristics.t.reshape(len(sol.heuristics.t), -1)
    for lane in range(starts.shape[1]):
        assert {0.1, 1.7, 2.9} <= set(starts[:, lane].tolist()) and -4.0 not in set(starts[:, lane].tolist())
    attempts = sol.stats.naccept_per_sample + sol.stats.nreject_per_sample
    np.testing.assert_array_equal(sol.stats.nfev_per_sample, 2 + 6 * attempts)  # no slope anew
    free = odeint(vdp, y0, t, rtol=1e-9, atol=1e-9, per_sample=per_sample)
    torch.testing.assert_close(sol.y, free.y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"step_t": [0.5, 0.5]}, "must not hold a time twice"),
        ({"step_t": [0.5], "jump_t": [0.5]}, "must not hold a time twice"),
        ({"step_t": 0.5}, "step_t must be a 1-D"),
        ({"jump_t": [math.nan]}, "jump_t must be a 1-D"),
        ({"min_step": -1.0}, "min_step"),
        ({"min_step": 0.2, "max_step": 0.1}, "max_step must be at least min_step, which is 0.2"),
        ({"max_step": 0.0}, "max_step"),
    ],
)
def test_what_cannot_shape_steps_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        odeint(vdp, torch.ones(2, 2, dtype=F64), T, **options)


def test_a_module_takes_limits_and_stops_and_refuses_times_with_gradient_under_a_regulariser():
    func = Switched()
    y0, t = torch.tensor([[1.0], [2.0]], dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    ode = ss.neural.NeuralODE(func, jump_t=[1.0], max_step=0.25, regulariser="er_mean", rtol=1e-9, atol=1e-9)
    out = ode(y0, t)
    torch.testing.assert_close(out.y, func.exact(y0, t), rtol=1e-7, atol=0.0)
    assert out.solution.heuristics.h.max() <= 0.25 and 1.0 in out.solution.heuristics.t and out.penalty > 0
    with pytest.raises(ValueError, match="must not hold a time twice"):
        ss.neural.NeuralODE(func, jump_t=[1.0], step_t=[1.0])
    with pytest.raises(ValueError, match="max_step"):
        ss.neural.NeuralODE(func, max_step=-1.0)
    moving = t.clone().requires_grad_()
    with pytest.raises(ValueError, match=r"t.detach\(\), or regulariser=None"):
        ode(y0, moving)
    y = ss.neural.NeuralODE(func, jump_t=[1.0], rtol=1e-9, atol=1e-9)(y0, moving).y
    found, expected = (torch.autograd.grad(x[-1].sum(), moving)[0] for x in (y, func.exact(y0, moving)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)
