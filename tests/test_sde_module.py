"""`NeuralSDE`: penalties against the heuristics that they are made of, local steps, failures, copies."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.methods import sde
from stepsmith.integrators.neural.sde.attempt import Step, attempt
from stepsmith.integrators.neural.sde.estimates import Scale


class Drift(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor([1.5, 0.7], dtype=torch.float64))

    def forward(self, t, y):
        return torch.sin(self.rate * y) - y


class Diffusion(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def forward(self, t, y):
        return self.size * torch.cos(y)


T = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)


def start(n=5):
    return torch.linspace(-1.0, 1.0, 2 * n, dtype=torch.float64).reshape(n, 2)


def made(**options):
    return ss.neural.NeuralSDE(Drift(), Diffusion(), rtol=0.05, atol=0.05, **options)


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("er_sum", lambda h: h.R_E.mean()),
        ("er2_sum", lambda h: h.R_E2.mean()),
        ("sr_sum", lambda h: h.R_S.mean()),
        ("sr_max", lambda h: h.S.amax(0).mean()),
    ],
)
def test_penalties_are_those_of_the_heuristics(name, formula, per_sample):
    module = made(regulariser=name, per_sample=per_sample)
    out = module(start(), T, seed=3)
    plain = ss.neural.sdeint(module.drift, module.diffusion, start(), T, rtol=0.05, atol=0.05, seed=3,
                             per_sample=per_sample)  # fmt: skip
    torch.testing.assert_close(out.penalty, formula(plain.heuristics))
    torch.testing.assert_close(out.y, plain.y)
    assert not out.solution.heuristics.E.requires_grad
    found = torch.autograd.grad(out.penalty, module.drift.rate)[0]
    wanted = torch.autograd.grad(formula(plain.heuristics), module.drift.rate)[0]
    torch.testing.assert_close(found, wanted)
    assert float(found.abs().sum()) > 0.0


def test_sums_and_strengths():
    regulariser = ss.neural.regulariser("er_sum") + 0.1 * ss.neural.regulariser("sr_sum")
    out = made(regulariser=regulariser, strength=2.0)(start(), T, seed=1)
    parts = [made(regulariser=name)(start(), T, seed=1).penalty for name in ("er_sum", "sr_sum")]
    torch.testing.assert_close(out.penalty, parts[0] + 0.1 * parts[1])
    torch.testing.assert_close(out.total(torch.tensor(1.0)), 1.0 + 2.0 * out.penalty)


def test_nothing_is_paid_in_eval_mode_or_without_gradient():
    module = made(regulariser="er_sum")
    with torch.no_grad():
        assert float(module(start(), T).penalty) == 0.0
    assert float(module.eval()(start(), T).penalty) == 0.0


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("name", ["local_unbiased", "local_biased"])
def test_local_penalties_leave_the_outputs_and_differentiate_one_step(name, per_sample):
    torch.manual_seed(0)
    module = made(regulariser=name, per_sample=per_sample)
    generator = torch.Generator().manual_seed(5)
    out = module(start(), T, seed=3, generator=generator)
    assert out.y.shape == (3, 5, 2) and float(out.penalty.detach()) > 0.0
    # the penalty's graph ends at the state: nothing of it reaches y0
    y0 = start().requires_grad_()
    again = module(y0, T, seed=3, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(again.penalty, out.penalty)
    assert torch.autograd.grad(again.penalty, y0, allow_unused=True, retain_graph=True)[0] is None
    assert float(torch.autograd.grad(again.penalty, module.drift.rate)[0].abs().sum()) > 0.0


def test_the_local_penalty_is_that_of_its_step():
    """One step from the state at the drawn time, of the accepted size around it, taken again by hand."""
    module = made(regulariser="local_unbiased")
    draw = torch.Generator().manual_seed(5)
    out = module(start(), T, seed=3, generator=draw)
    share = torch.rand((), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    times, h = out.solution.heuristics.t, out.solution.heuristics.h
    place = int((out.solution.t == float(share)).nonzero()[0])
    y, k = out.solution.y[place].detach(), int((times <= float(share)).sum()) - 1
    size = torch.full((1,), float(min(h[k], 1.0 - share)), dtype=torch.float64)
    values, method = [], sde.get("sosri")
    for seed in range(400):
        draws = torch.randn(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        w, levy = size.sqrt() * draws[0], (size / 12).sqrt() * draws[1]
        step = Step(torch.full((1,), float(share), dtype=torch.float64), size, w, levy)
        with torch.no_grad():
            trial = attempt(method, lambda t, y: module.drift(t[0], y), lambda t, y: module.diffusion(t[0], y), step, y)
            values.append(float(Scale(method, 0.05, 0.05, True).error(trial, y, y)) * float(size))
    # its increment is another: the penalty is one of the values that such steps have
    assert min(values) < float(out.penalty.detach()) < max(values)
    assert max(values) < 3.0 * min(values)


def test_states_of_the_steps_are_kept_where_they_are_asked_for():
    module = made(regulariser=None, per_sample=True)
    for per_sample in (True, False):
        sol = ss.neural.sdeint(module.drift, module.diffusion, start(), T, rtol=0.05, atol=0.05, per_sample=per_sample,
                               keep_states=True)  # fmt: skip
        assert sol.states.shape == (len(sol.heuristics.h), 5, 2) and not sol.states.requires_grad
        torch.testing.assert_close(sol.states[0], start())
        times = sol.heuristics.t if per_sample else sol.heuristics.t[:, None].expand(-1, 5)
        for sample in range(5):
            step = int((times[:, sample] == 0.4).nonzero()[0, 0])
            torch.testing.assert_close(sol.states[step, sample], sol.y[1, sample].detach())
    with pytest.raises(ValueError, match="keep_states=True"):
        _ = ss.neural.sdeint(module.drift, module.diffusion, start(), T).states


def test_a_call_has_a_new_path_and_a_seed_names_one():
    module = made().eval()
    torch.manual_seed(1)
    a, b, c = module(start(), T), module(start(), T), module(start(), T, seed=9)
    assert not torch.equal(a.y, b.y) and torch.equal(c.y, module(start(), T, seed=9).y)
    torch.manual_seed(1)
    assert torch.equal(module(start(), T).y, a.y)


def test_a_module_is_copied_saved_and_shown():
    module = made(regulariser="er_sum", strength=0.2)
    twin = copy.deepcopy(module)
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(start(), T, seed=2).y, module(start(), T, seed=2).y)
    assert {name for name, _ in module.named_parameters()} == {"drift.rate", "diffusion.size"}
    assert "method='sosri'" in repr(module) and "regulariser=er_sum()" in repr(module)


def test_failures_are_raised_masked_or_warned_of():
    class Wild(torch.nn.Module):
        def forward(self, t, y):
            return torch.where(y > 5.0, y**3, -y)

    y0 = torch.tensor([[0.5], [50.0], [0.7]], dtype=torch.float64)
    options = {"rtol": 0.1, "atol": 0.1, "max_steps": 100, "per_sample": True}
    small = lambda t, y: 0.1 * y  # noqa: E731

    def module(how):
        return ss.neural.NeuralSDE(Wild(), small, on_failure=how, **options)

    with pytest.raises(RuntimeError, match="number 1"):
        module("raise")(y0, T)
    with pytest.warns(UserWarning, match="out.mask"):
        out = module("mask")(y0, T)
    assert out.mask.tolist() == [True, False, True] and float(out.y[-1, 1]) == 50.0
    with pytest.warns(UserWarning, match="out.mask"):
        assert torch.isnan(module("warn")(y0, T).y[-1, 1]).all()


@pytest.mark.parametrize("regulariser", ["er_sum", "local_unbiased", "local_biased"])
def test_a_failed_sample_does_not_spoil_the_gradient_of_the_penalty(regulariser):
    net = torch.nn.Linear(2, 2)
    module = ss.neural.NeuralSDE(
        lambda t, y: torch.tanh(net(y)),
        lambda t, y: 0.2 * y,
        per_sample=True,
        regulariser=regulariser,
        on_failure="mask",
    )
    y0 = torch.zeros(3, 2)
    y0[1] = torch.nan
    with pytest.warns(UserWarning, match="out.mask"):
        out = module(y0, [-1.0, 0.0], seed=1)
    (out.y[-1][out.mask].sum() + out.penalty).backward()
    assert out.mask.tolist() == [True, False, True] and float(out.penalty) > 0.0
    assert torch.isfinite(net.weight.grad).all()


@pytest.mark.parametrize("method", ["euler_maruyama", "sosri"])
def test_a_sample_that_overflows_with_fixed_steps_does_not_spoil_the_gradient(method):
    rate = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    module = ss.neural.NeuralSDE(
        lambda t, y: rate * torch.where(y > 5.0, torch.exp(y * y), y),
        lambda t, y: 0.1 * y,
        method=method,
        step_size=0.1,
        on_failure="mask",
    )
    y0 = torch.tensor([[0.5], [40.0], [0.7]], dtype=torch.float64, requires_grad=True)
    with pytest.warns(UserWarning, match="out.mask"):
        out = module(y0, T, seed=1)
    assert out.mask.tolist() == [True, False, True]
    got = torch.autograd.grad(out.y[-1][out.mask].sum(), (rate, y0))
    # sample 1 does not touch the others: alone they have the same paths, and these gradients
    bounded = ss.neural.NeuralSDE(lambda t, y: rate * y, lambda t, y: 0.1 * y, method=method, step_size=0.1)
    apart = bounded(torch.where(y0 > 5.0, 0.0, y0), T, seed=1)
    torch.testing.assert_close(out.y[:, out.mask], apart.y[:, out.mask])
    wanted = torch.autograd.grad(apart.y[-1][out.mask].sum(), (rate, y0))
    torch.testing.assert_close(got, wanted)


def test_an_overflow_before_the_steps_run_out_does_not_spoil_the_gradient():
    def solve(start, drift):
        return ss.neural.sdeint(
            drift, lambda t, y: 0.1 * y, start, torch.linspace(0.0, 1.0, 5), "euler_maruyama", step_size=0.1, seed=1,
            max_steps=8,
        )  # fmt: skip

    rate = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[0.5], [40.0]], dtype=torch.float64, requires_grad=True)
    out = solve(y0, lambda t, y: rate * torch.where(y.abs() > 5.0, torch.exp(y * y), y))
    assert out.status.tolist() == [-1, -3] and torch.isfinite(out.y[:, 0, 0]).tolist() == [True] * 3 + [False] * 2
    assert out.stats.nfev == out.stats.ngev == 8  # the steps that are taken again for the gradient count apart
    assert out.stats.nfev_replay > 0
    alone = solve(y0[:1], lambda t, y: rate * y)
    got, wanted = (torch.autograd.grad(sol.y[2, 0, 0], (rate, y0)) for sol in (out, alone))
    torch.testing.assert_close(got, wanted)


def test_fixed_steps_whose_gradient_begins_late():
    rate = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[0.5], [4.0]], dtype=torch.float64)

    def drift(t, y):
        return torch.where(y > 5.0, torch.exp(y * y), y) * (2.0 if t < 0.5 else rate)

    def end(rows):
        return ss.neural.sdeint(drift, lambda t, y: 0.1 * y, rows, T, "euler_maruyama", step_size=0.125, seed=1).y

    got, wanted = (torch.autograd.grad(end(rows)[-1, 0, 0], rate) for rows in (y0, y0[:1]))
    assert not torch.isfinite(end(y0)[-1, 1]).all()
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regulariser": "kinetic"}, "no regulariser of an SDE"),
        ({"regulariser": "sr_sum", "method": "sriw1"}, "use sosri"),
        ({"regulariser": "er_sum", "step_size": 0.1}, "leave step_size out"),
        ({"regulariser": "er_sun"}, "did you mean 'er_sum'"),
        ({"method": "sosr"}, "did you mean 'sosri'"),
        ({"strength": 1.0}, "there is none"),
        ({"rtol": -1.0}, "rtol"),
        ({"on_failure": "weep"}, "on_failure"),
        ({"regularizer": "er_sum"}, "did you mean 'regulariser'"),
        ({"drift": lambda y: y}, "drift is called as drift"),
        ({"controller": "pi43"}, "did you mean"),
    ],
)
def test_bad_input_is_refused_when_the_module_is_made(changes, said):
    with pytest.raises(ValueError, match=said):
        ss.neural.NeuralSDE(**{"drift": Drift(), "diffusion": Diffusion(), **changes})


def test_fixed_steps_train():
    module = made(step_size=0.1)
    out = module(start(), T, seed=1)
    out.y[-1].sum().backward()
    assert float(module.drift.rate.grad.abs().sum()) > 0.0 and out.solution.heuristics is None
    assert np.array_equal(out.solution.stats.naccept_per_sample, np.full(5, 10))


def test_the_pages_code_runs(capsys):
    page = (Path(__file__).parents[1] / "docs" / "sde.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        if "sdeint" in block or "NeuralSDE" in block:
            exec(compile(block, "docs/sde.md", "exec"), names)
    assert float(capsys.readouterr().out.split()[-1]) < 0.01
