"""Tolerances per sample: each sample is solved as it is alone at its own."""

import pytest
import torch

import stepsmith as ss

F64 = torch.float64
T = torch.linspace(0.0, 2.0, 4, dtype=F64)
SCALE = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=F64)
TOL = torch.tensor([1e-3, 1e-8, 1e-5, 1e-6], dtype=F64)
Y0 = torch.tensor([[1.0, 0.2], [0.5, -1.0], [0.1, 0.9], [2.0, 0.0]], dtype=F64)


def field(scale):
    w = torch.tensor([[-0.2, 1.0], [-1.5, -0.1]], dtype=F64, requires_grad=True)
    return (lambda t, y: scale * torch.tanh(y @ w.T) * (1 + 0.3 * torch.sin(t))), w


def everything(scale, y0, rtol, atol, **options):
    func, w = field(scale)
    law = options.pop("controller", "pi34")
    sol = ss.neural.odeint(func, y0, T, "tsit5", law, rtol, atol, per_sample=True, **options)
    loss = (sol.y[-1] ** 2).sum() + sol.heuristics.R_E.sum()
    return sol, torch.autograd.grad(loss, w)[0]


WAYS = [{}, {"compact": True}, {"checkpoint_every": 3}, {"controller": "universal"}]


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("by_component", [False, True])
def test_each_sample_is_solved_as_it_is_alone(options, by_component):
    # rows of one scale: compact=True takes rows out, which func is not to notice
    scale = 1.5 if options.get("compact") else SCALE[:, None]
    rtol = TOL[:, None] * (torch.tensor([1.0, 0.1], dtype=F64) if by_component else 1.0)
    whole, grad = everything(scale, Y0, rtol, 0.1 * rtol, **options)
    summed = torch.zeros_like(grad)
    for i in range(4):
        alone = rtol[i] if by_component else float(rtol[i])
        sol, part = everything(
            scale if isinstance(scale, float) else scale[i], Y0[i : i + 1], alone, 0.1 * alone, **dict(options)
        )
        assert whole.stats.naccept_per_sample[i] == sol.stats.naccept and torch.allclose(
            whole.y[:, i], sol.y[:, 0], rtol=1e-12, atol=1e-13
        )
        assert torch.allclose(whole.heuristics.R_E[i], sol.heuristics.R_E[0], rtol=1e-9)
        summed += part
    assert torch.allclose(grad, summed, rtol=1e-8, atol=1e-10)


def test_errors_follow_the_samples_tolerances():
    func, _ = field(SCALE[:, None])
    loose = ss.neural.odeint(func, Y0, T, rtol=TOL[:, None], atol=TOL[:, None])
    exact = ss.neural.odeint(func, Y0, T, "dop853", rtol=1e-13, atol=1e-13)
    errors = (loose.y - exact.y).abs().amax((0, 2))
    assert (errors < 30 * TOL).all() and errors[0] > 1e-7 > errors[1]


def test_numpy_arrays_a_mixture_and_more_dimensions():
    func, _ = field(1.0)
    one = ss.neural.odeint(func, Y0, T, rtol=TOL[:, None], atol=1e-9)
    two = ss.neural.odeint(func, Y0, T, rtol=TOL[:, None].numpy(), atol=torch.full((4, 2), 1e-9, dtype=F64))
    assert torch.equal(one.y, two.y)
    wide = ss.neural.odeint(
        lambda t, y: func(t[..., 0], y.flatten(1)).view_as(y), Y0.view(4, 2, 1), T, rtol=TOL.view(4, 1, 1), atol=1e-9
    )
    assert torch.equal(wide.y.flatten(2), one.y)


@pytest.mark.parametrize(
    ("rtol", "words"),
    [
        (TOL[:3, None], "rtol must be"),
        (-TOL[:, None], "between 0 and 1"),
        (TOL[:, None] * float("nan"), "between 0 and 1"),
        (torch.ones(4, 3), "broadcasts to y0"),
        (TOL, "rtol must be"),
    ],
    ids=str,
)
def test_what_does_not_fit(rtol, words):
    func, _ = field(1.0)
    with pytest.raises(ValueError, match=words):
        ss.neural.odeint(func, Y0, T, rtol=rtol, atol=1e-9)


def test_with_one_step_size_a_tolerance_of_that_shape_is_one_of_components():
    func, _ = field(1.0)
    one = ss.neural.odeint(func, Y0, T, rtol=TOL[:, None], atol=1e-9, per_sample=False)
    two = ss.neural.odeint(func, Y0, T, rtol=TOL[:, None].expand(4, 2), atol=1e-9, per_sample=False)
    assert torch.equal(one.y, two.y)
