"""What others reported of their solvers, as calls of ours: the answers of `docs/faq.md` against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

import stepsmith as ss


def outrun(t, y, p):
    return [p[0] / y[0]]


@pytest.mark.parametrize("end", [(0.0, 2.0), (1.0, 2.0)])
def test_a_start_that_is_faster_than_the_clock_is_refused_by_explicit_methods(end):
    """SciPy 11698, 11700: y' = C/y.  From t = 0 floats are fine enough; from t = 1 they are not."""
    sol = ss.solve(ss.Problem(outrun, [1e6], end, p=[1e50]), t_eval=[*end])
    if end[0] == 0.0:
        assert sol.success and abs(sol.y[-1, 0] / math.sqrt(1e12 + 2e50 * 2.0) - 1.0) < 1e-6
    else:
        assert sol.status == -2 and sol.t.tolist() == [1.0] and "resolves" in sol.message


def clock(t, y, p):
    return [1.0]


def first(t, y, p):
    return t - p[0]


def second(t, y, p):
    return y[0] - p[1]


def third(t, y, p):
    return t - p[2]


second.terminal = True


@pytest.mark.parametrize("gap", [1e-2, 1e-8, 1e-13])
def test_events_of_one_step_come_in_the_order_of_the_solve(gap):
    """DiffEqBase 1231: of several events in a step, the one nearest to the step's start decides, backwards too."""
    for start, end, met in ((-1.0, 1.0, (1, 1, 0)), (1.0, -1.0, (0, 1, 1))):
        problem = ss.Problem(clock, [start], (start, end), p=[0.0, gap, 2.0 * gap])
        sol = ss.solve(problem, events=[first, second, third], first_step=2.0)
        assert sol.status == 3 and tuple(len(t) for t in sol.t_events) == met
        assert abs(sol.t[-1] - gap) < 1e-15 and sol.t_events[1][0] == sol.t[-1]
        # DiffEqBase 1184: and where a stop stands on the event
        again = ss.solve(problem, events=[first, second, third], tstops=[gap])
        assert again.status == 3 and tuple(len(t) for t in again.t_events) == met
        # diffrax 713: who goes on from an event does not meet it again, and does not turn round
        rest = ss.solve(
            ss.Problem(clock, sol.y[-1], (sol.t[-1], end), p=[9.0, sol.y[-1, 0], 9.0]), events=[first, second, third]
        )
        assert rest.status == 1 and not len(rest.t_events[1]) and rest.t[-1] == end


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve", "interpolating"])
def test_gradients_of_times_and_events_against_closed_forms(adjoint):
    """torchdiffeq 199, 166 (signs of the gradient in times) and 208 (an event function that never learns)."""
    torch = pytest.importorskip("torch")
    like = {"dtype": torch.float64, "requires_grad": True}
    a, k, level = torch.tensor(0.7, **like), torch.tensor(1.3, **like), torch.tensor(0.8, **like)
    options = {"rtol": 1e-10, "atol": 1e-12, "adjoint": adjoint}

    for times in ([0.0, 0.5, 1.3], [1.3, 0.5, -0.2]):
        t, y0 = torch.tensor(times, **like), torch.tensor([1.5], **like)
        more = {} if adjoint == "discrete" else {"adjoint_params": (a,)}
        out = ss.neural.odeint(lambda t, y: a * torch.cos(t) * y, y0, t, **options, **more)
        out.y[-1].sum().backward()
        end = 1.5 * math.exp(0.7 * (math.sin(times[-1]) - math.sin(times[0])))
        slopes = [-0.7 * math.cos(times[0]) * end, 0.0, 0.7 * math.cos(times[-1]) * end]
        assert np.abs(t.grad.numpy() - slopes).max() < 1e-8

    y0 = torch.tensor([0.2], **like)
    more = {} if adjoint == "discrete" else {"adjoint_params": (k,)}
    span = torch.tensor([0.0, 5.0], dtype=torch.float64)
    out = ss.neural.odeint(lambda t, y: k * y, y0, span, event_fn=lambda t, y: y[0] - level, **options, **more)
    out.event_t.sum().backward()
    time = math.log(0.8 / 0.2) / 1.3
    found = [float(v) for v in (out.event_t.detach(), level.grad, y0.grad, k.grad)]
    assert np.abs(np.subtract(found, [time, 1 / (1.3 * 0.8), -1 / (1.3 * 0.2), -time / 1.3])).max() < 1e-8


@pytest.mark.parametrize("process", ["FlowMatching", "VP", "VE", "EDM"])
def test_samples_are_finite_where_the_last_noise_is_zero(process):
    """diffusers 9007 and 10748: NaN from the logarithm of a noise of zero, with some numbers of steps only."""
    torch = pytest.importorskip("torch")
    kind = getattr(ss.flows, process)()
    model = ss.flows.mixture(torch.tensor([[1.0, -1.0]]), torch.tensor([0.5]), torch.tensor([1.0]), kind)
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(0)) * float(kind.s(torch.tensor(kind.t_noise)))
    for method in ("ddim", "heun", "midpoint", "ab2", "ab3", "dpmpp_2m", "ancestral", "euler_maruyama"):
        for steps in (2, 3, 11, 14):
            for grid in ("uniform", "edm", "log_snr"):
                for denoise in (True, False):
                    out = ss.flows.sample(model, noise, method=method, steps=steps, grid=grid, denoise=denoise)
                    assert bool(torch.isfinite(out.y).all()) and out.success, (method, steps, grid, denoise)
