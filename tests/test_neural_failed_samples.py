"""NeuralODE where samples fail: it raises, or masks what failed and says so."""

import copy
import math
import warnings

import pytest
import torch

import stepsmith as ss
from torch_fields import F64

NeuralODE = ss.neural.NeuralODE
T = torch.tensor([0.0, 0.01, 1.0], dtype=F64)


class Cube(torch.nn.Module):
    """y' = w y^3; from y0 = 5 it blows up at t = 1 / (2 w y0^2) = .02."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

    def forward(self, t, y):
        return self.w * y**3


def start():
    y0 = torch.linspace(0.1, 0.5, 64, dtype=F64)[:, None].repeat(1, 2)
    y0[17] = 5.0
    return y0


OPTIONS = {"rtol": 1e-6, "atol": 1e-6, "max_steps": 60}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [None, "er_mean", "kinetic", "local_biased"])
def test_a_failed_sample_raises(name, training):
    ode = NeuralODE(Cube(), per_sample=True, regulariser=name, **OPTIONS).train(training)
    message = (
        r"1 of 64 samples failed, number 17, the first of them, sample 17, at t = 0.0[12].*step limit.*max_steps.*"
        r"on_failure=\"mask\""
    )
    with pytest.raises(RuntimeError, match=message):
        ode(start(), T)


@pytest.mark.parametrize("name", [None, "er_mean"])
def test_a_failed_batch_raises(name):
    ode = NeuralODE(Cube(), regulariser=name, **OPTIONS)
    with pytest.raises(RuntimeError, match=r"the solve failed at t = 0.02.*step limit.*per_sample=True"):
        ode(start(), T)
    one = NeuralODE(Cube(), regulariser=name, **OPTIONS)
    with pytest.raises(RuntimeError, match="the solve failed at"):
        one(torch.tensor([5.0, 5.0], dtype=F64), T)


@pytest.mark.parametrize("name", [None, "er_mean", "kinetic", "local_biased"])
@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
def test_masked_samples_leave_the_weights_finite_and_the_penalty_that_of_the_others(name, adjoint):
    if name == "er_mean" and adjoint != "discrete":
        pytest.skip("needs gradients through every step")
    torch.manual_seed(0)
    head = torch.nn.Linear(2, 1, dtype=F64)
    ode = NeuralODE(Cube(), per_sample=True, regulariser=name, on_failure="mask", adjoint=adjoint, **OPTIONS)
    with pytest.warns(UserWarning, match="1 of 64 samples failed.*masked: out.mask"):
        out = ode(start(), T, torch.Generator().manual_seed(4))
    assert out.mask.sum() == 63 and not out.mask[17] and out.y.shape == (3, 64, 2)
    assert torch.isfinite(out.y).all() and out.solution.y[-1, 17].isnan().all()
    # what the failed sample did reach is its solution: y0 / sqrt(1 - 2 y0^2 t)
    assert out.y[1, 17, 0].item() == pytest.approx(5.0 / math.sqrt(1 - 2 * 25.0 * 0.01), rel=1e-4)
    # what it did not reach is its y0, a constant
    assert torch.equal(out.y[-1, 17].detach(), start()[17])
    (head(out.y[-1]).square().mean() + out.penalty).backward()
    optimiser = torch.optim.Adam([*head.parameters(), *ode.parameters()], 1e-2)
    optimiser.step()
    assert all(torch.isfinite(p).all() for p in (*head.parameters(), *ode.parameters()))

    # the penalty and the gradient of a loss over the masked samples are those of a solve without the one that failed
    found = []
    for y0 in (start(), start()[torch.arange(64) != 17]):
        ode.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = ode(y0, T, torch.Generator().manual_seed(4))
        loss = out.y[-1][out.mask].square().sum()
        found.append((out.penalty.detach(), *torch.autograd.grad(loss, list(ode.parameters()))))
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)
    if name != "local_biased":  # which draws a share for every sample
        torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-15)
    assert (found[0][0] > 0) == (name is not None)


def test_a_masked_batch_that_fails_as_one_is_constant():
    ode = NeuralODE(Cube(), regulariser="er_mean", on_failure="mask", **OPTIONS)
    y0 = start().requires_grad_()
    with pytest.warns(UserWarning, match="the solve failed at"):
        out = ode(y0, T)
    assert not out.mask.any() and torch.isfinite(out.y).all() and out.penalty == 0
    (g,) = torch.autograd.grad(out.y[-1].sum() + 0.0 * y0.sum(), y0)
    assert torch.equal(g, torch.zeros_like(g))


def test_a_start_that_is_not_finite_is_masked_by_zeros():
    y0 = start()
    y0[17] = math.nan
    ode = NeuralODE(Cube(), per_sample=True, on_failure="mask", **OPTIONS)
    with pytest.warns(UserWarning, match="right-hand side is not finite"):
        out = ode(y0, T)
    assert out.mask.sum() == 63 and (out.y[:, 17] == 0).all()


def test_warn_says_which_and_why_and_leaves_the_outputs_as_odeint_does():
    ode = NeuralODE(Cube(), per_sample=True, on_failure="warn", **OPTIONS)
    y0 = start()
    y0[40] = 4.0
    with pytest.warns(UserWarning, match=r"2 of 64 samples failed, numbers 17, 40, .*step limit.*helps.*are NaN"):
        out = ode(y0, T)
    assert out.mask.sum() == 62 and out.y[-1, 17].isnan().all() and not out.solution.success
    sol = ss.neural.odeint(Cube(), y0, T, per_sample=True, **OPTIONS)
    assert not sol.success and torch.equal(sol.y.isnan(), out.y.isnan())


def test_of_many_failed_samples_the_first_five_are_named():
    ode = NeuralODE(Cube(), per_sample=True, **OPTIONS)
    with pytest.raises(RuntimeError, match=r"9 of 64 samples failed, numbers 0, 1, 2, 3, 4, \.\.\., the first"):
        ode(torch.where(torch.arange(64)[:, None] < 9, 5.0, start()) * (torch.arange(64)[:, None] != 17), T)


@pytest.mark.parametrize("on_failure", ["raise", "mask", "warn"])
def test_a_solve_that_succeeds_is_the_same_whatever_the_choice(on_failure):
    y0 = start()
    y0[17] = 0.2
    ode = copy.deepcopy(NeuralODE(Cube(), per_sample=True, regulariser="er_mean", on_failure=on_failure, **OPTIONS))
    out = ode(y0, T)
    exact = y0 / (1 - 2 * y0**2).sqrt()
    assert out.mask.all()
    torch.testing.assert_close(out.y[-1].detach(), exact, rtol=1e-4, atol=0.0)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="unknown on_failure 'masked': did you mean 'mask'"):
        NeuralODE(Cube(), on_failure="masked")
    with pytest.raises(ValueError, match="unknown on_failure 'status'"):
        NeuralODE(Cube(), on_failure="status")


@pytest.mark.parametrize("heuristics", [False, "values"])
def test_samples_with_steps_of_their_own_are_not_told_to_take_them(heuristics):
    """All fail at one time; the advice to solve them per sample is for a batch with one step size."""
    y0, t = torch.full((2, 1), 5.0, dtype=torch.float64), [0.0, 1.0]
    for per_sample in (True, False):
        ode = ss.neural.NeuralODE(lambda t, y: 5 * y**2, per_sample=per_sample, heuristics=heuristics)
        with pytest.raises(RuntimeError) as failed:
            ode(y0, t)
        assert ("2 of 2 samples failed" in str(failed.value)) == per_sample
        assert ("per_sample=True" in str(failed.value)) == (not per_sample)
