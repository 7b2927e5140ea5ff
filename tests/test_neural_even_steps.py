"""odeint(even_steps=True): the largest of equal steps that end at the end time, in the place of a short last one."""

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.law import Law
from stepsmith.train.evaluate.curves import log_work_at
from stepsmith.train.neural.config import from_dict
from stepsmith.train.neural.tasks import build
from torch_fields import F64, mlp, odeint, state

OPTIONS = {"rtol": 1e-7, "atol": 1e-7}


def field(t, y):
    return torch.sin(3.0 * t) - 0.3 * y


def constant(h):
    return Law("constant", "constant", {"h": h})


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("h", "steps"), [(0.3, 4), (0.25, 4), (1 / 3, 3), (1 / 7, 7), (0.1, 10), (0.6, 2), (1.0, 1), (7.0, 1), (0.01, 100)]
)
def test_they_are_equal_and_no_longer_than_asked_for(per_sample, sign, h, steps):
    t = sign * torch.tensor([0.0, 0.37, 1.0], dtype=F64)
    y0 = torch.rand(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    out = odeint(field, y0, t, "tsit5", constant(h), per_sample=per_sample, even_steps=True, **OPTIONS)
    sizes = out.heuristics.h.numpy()
    assert out.success and len(sizes) == steps and (np.abs(sizes - 1.0 / steps) < 1e-14).all()
    np.testing.assert_array_equal(out.t_last, sign)  # the end itself, to the last bit
    exact = odeint(field, y0, t, "dop853", "pi34", rtol=1e-12, atol=1e-12).y
    assert (out.y - exact).abs().max() < (1e-3 if steps >= 4 else 1e-1)


@pytest.mark.parametrize("n", range(1, 60))
def test_rounding_adds_no_step(n):
    """A size that divides the span, from a start that rounds: n steps, not n + 1 (in floating point ceil((t1 - t0) / h)
    often is).
    """
    t = torch.tensor([0.3, 1.7], dtype=F64)
    out = odeint(
        field, torch.ones(1, 1, dtype=F64), t, "bs32", constant((1.7 - 0.3) / n), even_steps=True, rtol=1.0, atol=1.0
    )
    assert out.stats.naccept == n and out.t_last[0] == 1.7


def test_a_size_that_a_dead_band_keeps_gains_no_step():
    """A factor of exactly one: after a first step of span/n there are n - 1 more of them."""
    law = registry.get("i", band_lo=0.01, band_hi=10.0, fmax=5.0)
    for n in range(2, 60):
        t = torch.tensor([0.0, 1.9], dtype=F64)
        out = odeint(
            field, torch.zeros(1, 1, dtype=F64), t, "bs32", law, rtol=1.0, atol=1.0, first_step=1.9 / n, even_steps=True
        )
        assert out.stats.naccept == n


@pytest.mark.parametrize("controller", ["i", "pi34", "h211b", "zoo"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_step_is_short_and_the_solution_is_right(controller, sign):
    net, y0, short = mlp(), state(), []
    controller = ss.controller("neural-field") if controller == "zoo" else controller
    for end in np.linspace(0.4, 2.5, 8):
        t = torch.tensor([0.0, sign * end], dtype=F64)
        even = odeint(lambda t, y: net(y), y0, t, "tsit5", controller, per_sample=False, even_steps=True, **OPTIONS)
        exact = odeint(lambda t, y: net(y), y0, t, "dop853", "pi34", rtol=1e-12, atol=1e-12).y
        assert even.success and (even.y - exact).abs().max() < 1e-5
        h = even.heuristics.h.numpy()
        assert h.sum() == pytest.approx(end, rel=1e-13)
        # the last of n >= 2 equal ones is no less than half of what fitted before; truncated ones end with anything
        assert h[-1] > 0.3 * h[-2:].max()
        cut = odeint(lambda t, y: net(y), y0, t, "tsit5", controller, per_sample=False, **OPTIONS).heuristics.h.numpy()
        short.append(cut[-1] <= 0.3 * cut[-2:].max())
    assert any(short)


def test_each_sample_has_its_own_and_a_failing_one_leaves_the_others_alone():
    rate = torch.tensor([[0.1], [1.0], [30.0]], dtype=F64)
    y0, t = torch.ones(3, 1, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    all_ = odeint(lambda t, y: -rate * y, y0, t, "tsit5", "pi34", even_steps=True, **OPTIONS)
    for i in range(3):
        one = odeint(lambda t, y, i=i: -rate[i] * y, y0[i : i + 1], t, "tsit5", "pi34", even_steps=True, **OPTIONS)
        assert torch.equal(all_.y[:, i : i + 1], one.y)
    bad = torch.tensor([[1.0], [20.0], [1.0]], dtype=F64)  # y' = y^2 from 20 blows up at .05
    out = odeint(lambda t, y: y * y * 0.5, bad, t, "tsit5", "pi34", even_steps=True, **OPTIONS)
    assert (out.status > 0).tolist() == [True, False, True]
    assert torch.allclose(out.y[-1, 0], torch.tensor([2.0], dtype=F64), atol=1e-5) and torch.equal(
        out.y[:, 0], out.y[:, 2]
    )


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve", "interpolating"])
def test_gradients_are_the_adjoints(adjoint):
    net, y0 = mlp(), state()

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t, y):
            return self.net(y)

    func, t = Field(), torch.tensor([0.0, 0.6, 1.3], dtype=F64)
    # the backward solves are even too: their field sees other times
    times = {True: [], False: []}
    if adjoint != "discrete":
        for even, seen in times.items():
            hook = func.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(float(args[0].reshape(-1)[0])))
            out = ss.neural.odeint(
                func, y0, t, "tsit5", "pi34", per_sample=False, adjoint=adjoint, even_steps=even, rtol=1e-6, atol=1e-6
            )
            del seen[:]
            out.y[1:].square().sum().backward()
            hook.remove()
        assert sorted(times[True]) != sorted(times[False])
    grads = []
    for kwargs in (
        {"adjoint": adjoint, "even_steps": True, "rtol": 1e-8, "atol": 1e-8},
        {"rtol": 1e-12, "atol": 1e-12},
    ):
        start = y0.clone().requires_grad_(True)
        func.zero_grad()
        out = ss.neural.odeint(func, start, t, "tsit5", "pi34", per_sample=False, **kwargs)
        out.y[1:].square().sum().backward()
        h = out.heuristics.h.numpy().ravel()
        assert (abs(h[-1] / h[-2] - 1) < 0.5) == kwargs.get("even_steps", False) or adjoint != "discrete"
        grads.append(torch.cat([start.grad.flatten(), *(p.grad.flatten() for p in func.parameters())]))
    assert (grads[0] - grads[1]).abs().max() < 1e-5 * grads[1].abs().max()


def test_done_samples_leave_a_compact_batch():
    rate = torch.tensor([0.1, 1.0, 30.0, 2.0], dtype=F64)
    y0 = torch.stack([torch.ones(4, dtype=F64), rate], dim=1)  # the rate travels with its row

    def func(t, y):
        return torch.stack([-y[:, 1] * y[:, 0], 0.0 * y[:, 1]], dim=1)

    t = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
    whole, compact = (
        odeint(func, y0, t, "tsit5", "pi34", even_steps=True, compact=c, **OPTIONS) for c in (False, True)
    )
    assert whole.success and torch.allclose(whole.y, compact.y, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(whole.stats.naccept_per_sample, compact.stats.naccept_per_sample)
    assert np.ptp(whole.stats.naccept_per_sample) > 0


def test_an_underflowing_sample_ends_and_a_first_step_is_evened_too():
    y0 = torch.tensor([[1.0], [1.0]], dtype=F64)
    t = torch.tensor([0.0, 1.0], dtype=F64)

    def func(t, y):
        wild = torch.where(t > 0.5, torch.sin(1e18 * t), torch.zeros_like(t)) * 1e6
        return torch.cat([-y[:1], wild[1:] + 0.0 * y[1:]])

    out = odeint(func, y0, t, "tsit5", "i", even_steps=True, rtol=1e-10, atol=1e-10, max_steps=2000)
    assert out.status[0] == 1 and out.status[1] < 0
    one = odeint(lambda t, y: -y, y0, t, "tsit5", constant(0.3), first_step=0.4, even_steps=True, **OPTIONS)
    # 1/3 first, then what the law asks for: .3 in two thirds, three times
    np.testing.assert_allclose(one.heuristics.h[:, 0].numpy(), [1 / 3, 2 / 9, 2 / 9, 2 / 9])


def test_a_warm_start_remembers_the_wish_and_not_the_even_size():
    """What was cut to fit is no sign of what the field allows: the size kept is the controller's proposal after the
    first step.
    """
    net, y0, t = mlp(), state(), torch.linspace(0.0, 2.0, 2, dtype=F64)
    ode = ss.neural.NeuralODE(lambda t, y: net(y), "tsit5", "i", 1e-6, 1e-6, warm_start=True, even_steps=True)
    counts = []
    for _ in range(4):
        out = ode(y0, t).solution
        h, err = float(out.heuristics.h[0].flatten()[0]), float(out.heuristics.E[0].detach().flatten()[0])
        assert float(ode.first_step_size) == pytest.approx(h * min(0.9 * err**-0.2, 10.0), rel=1e-6)
        counts.append(out.stats.nfev)
    assert counts[0] > counts[1] >= counts[2] == counts[3]


def test_it_saves_evaluations_at_equal_error_on_short_solves():
    """Over many ends, so that none of them decides: the mean of log work at the error that both reach."""
    net, y0 = mlp(), state()
    cost = {True: [], False: []}
    for end in np.linspace(1.0, 2.0, 15):
        t = torch.tensor([0.0, end], dtype=F64)
        exact = odeint(lambda t, y: net(y), y0, t, "dop853", "pi34", rtol=1e-12, atol=1e-12).y
        for even in cost:
            err, work = [], []
            for tol in np.logspace(-3, -9, 13):
                out = odeint(
                    lambda t, y: net(y), y0, t, "tsit5", "pi34", rtol=tol, atol=tol, per_sample=False, even_steps=even
                )
                err.append(float((out.y[-1] - exact[-1]).detach().abs().max()))
                work.append(out.stats.nfev)
            cost[even].append(log_work_at(err, work, [1e-6, 1e-7, 1e-8], looser=True))
    gain = np.exp(np.nanmean(np.array(cost[True]) - np.array(cost[False])))
    assert gain < 0.99


def test_a_module_and_a_config_take_it():
    y0, t = torch.ones(2, 1, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    for even, sizes in ((True, [0.25] * 4), (False, [0.3, 0.3, 0.3, 0.1])):
        out = ss.neural.NeuralODE(lambda t, y: -y, controller=constant(0.3), even_steps=even)(y0, t)
        np.testing.assert_allclose(out.solution.heuristics.h.numpy(), sizes)
    with pytest.raises(ValueError, match="even_steps must be True or False"):
        ss.neural.NeuralODE(lambda t, y: -y, even_steps="no")
    given = {"name": "x", "task": {"name": "digits"}, "solver": {"tolerance": 1e-3, "options": {"even_steps": True}}}
    assert build(from_dict(given)).ode.options["even_steps"] is True
