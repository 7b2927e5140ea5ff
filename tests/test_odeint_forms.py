"""States of any form for `neural.odeint`: 0-d, trees, with one step size and with steps per sample."""

import pytest
import torch
import torchdiffeq

import stepsmith as ss
from torch_fields import F64

odeint = ss.neural.odeint
T = torch.tensor([0.0, 0.7, 2.0], dtype=F64)
TOL = {"rtol": 1e-8, "atol": 1e-8}
ADJOINTS = ["discrete", "backsolve", "interpolating"]


class Coupled(torch.nn.Module):
    """A tree of three parts, all of whose slopes depend on all parts of a sample."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([0.3, -0.7], dtype=F64))

    def forward(self, t, state):
        x, rest = state["x"], state["rest"]
        a, b = rest
        at = t.reshape(-1, 1) if t.dim() else t  # (B, 1, 1, 1) with steps per sample, as many axes as b
        rest = self.w[1] * a, b * x.mean(-1)[..., None, None]
        return {"x": -x * a[..., None] + self.w[0] * torch.sin(at), "rest": rest}


def tree(lead=()):
    torch.manual_seed(3)
    return {
        "x": torch.randn(*lead, 2, dtype=F64),
        "rest": (torch.rand(lead, dtype=F64), torch.randn(*lead, 2, 3, dtype=F64)),
    }


def leaves(state):
    return [state["x"], *state["rest"]]


def want(state):
    for part in leaves(state):
        part.requires_grad_()
    return state


def loss(state):
    return sum((i + 1) * part[1:].square().sum() for i, part in enumerate(leaves(state)))


def test_a_0d_state_is_one_system():
    y0 = torch.tensor(2.0, dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: -y * y, y0, T, **TOL)
    assert sol.y.shape == (3,) and sol.y_last.shape == () and sol.heuristics.E.dim() == 1 and sol.status.shape == (1,)
    torch.testing.assert_close(sol.y, 2.0 / (1 + 2.0 * T), rtol=1e-7, atol=0.0)
    (g,) = torch.autograd.grad(sol.y[-1], y0)
    assert g.item() == pytest.approx(1 / (1 + 2.0 * 2.0) ** 2, rel=1e-6)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_a_tree_with_one_step_size_is_torchdiffeqs_tuple(adjoint):
    func, y0 = Coupled(), want(tree())
    sol = odeint(func, y0, T, adjoint=adjoint, **TOL)
    assert sol.y["x"].shape == (3, 2) and sol.y["rest"][0].shape == (3,) and sol.y["rest"][1].shape == (3, 2, 3)
    assert sol.y_last["rest"][1].shape == (2, 3) and sol.heuristics.h.dim() == 1
    torch.testing.assert_close(sol.y_last["x"], sol.y["x"][-1].detach())

    def flat(t, parts):
        return tuple(leaves(func(t, {"x": parts[0], "rest": parts[1:]})))

    x, a, b = torchdiffeq.odeint(flat, tuple(leaves(y0)), T, rtol=1e-11, atol=1e-11)
    for ours, theirs in zip(leaves(sol.y), (x, a, b), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    inputs = [*leaves(y0), func.w]
    found = torch.autograd.grad(loss(sol.y), inputs)
    expected = torch.autograd.grad(loss({"x": x, "rest": (a, b)}), inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"compact": True}, {"checkpoint_every": 3}, {"adjoint": "backsolve"}])
def test_a_tree_with_steps_per_sample_is_each_sample_alone(options):
    func, y0 = Coupled(), want(tree((4,)))
    sol = odeint(func, y0, T, per_sample=True, **TOL, **options)
    assert sol.y["rest"][1].shape == (3, 4, 2, 3) and sol.heuristics.E.shape[1] == 4
    inputs = [*leaves(y0), func.w]
    found = torch.autograd.grad(loss(sol.y), inputs)
    total = 0.0
    for i in range(4):
        alone = {"x": y0["x"][i], "rest": tuple(part[i] for part in y0["rest"])}
        one = odeint(func, alone, T, **TOL)
        assert one.stats.naccept == sol.stats.naccept_per_sample[i]  # the same norm, and so the same steps
        for part, ours in zip(leaves(one.y), leaves(sol.y), strict=True):
            torch.testing.assert_close(ours[:, i], part, rtol=1e-12, atol=1e-12)
        total = total + loss(one.y)
    expected = torch.autograd.grad(total, inputs)
    torch.testing.assert_close(found, expected, rtol=1e-10 if "adjoint" not in options else 1e-5, atol=1e-7)


def test_the_norm_of_a_tree_is_that_of_its_worst_part_and_E_has_its_gradient():
    y0 = (torch.tensor([1.0], dtype=F64, requires_grad=True), torch.full((50,), 0.0, dtype=F64))
    sol = odeint(lambda t, s: (s[0].cos() * 3, 0.0 * s[1]), y0, T, rtol=1e-5, atol=1e-5)
    alone = odeint(lambda t, y: y.cos() * 3, y0[0], T, rtol=1e-5, atol=1e-5)
    assert sol.stats.naccept == alone.stats.naccept
    torch.testing.assert_close(sol.heuristics.E, alone.heuristics.E, rtol=1e-9, atol=1e-12)
    found, expected = (torch.autograd.grad(s.heuristics.R_E, y0[0])[0] for s in (sol, alone))
    assert expected.abs() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_keys_of_a_dict_may_stand_in_any_order(per_sample):
    func, y0 = Coupled(), tree((4,))

    def turned(t, state):
        slope = func(t, state)
        return {"rest": slope["rest"], "x": slope["x"]}

    for given, found in (
        ({}, {}),
        ({"rtol": {"x": 1e-3, "rest": (1e-5, 1e-7)}}, {"rtol": {"rest": (1e-5, 1e-7), "x": 1e-3}}),
    ):
        a = odeint(func, y0, T, per_sample=per_sample, **given)
        b = odeint(turned, y0, T, per_sample=per_sample, **found)
        assert all(torch.equal(x, y) for x, y in zip(leaves(a.y), leaves(b.y), strict=True))
    for wrong in ({"x": 1e-3}, {"x": 1e-3, "y": 1e-5}, {"x": 1e-3, "rest": {"a": 1e-3, "b": 1e-3}}):
        with pytest.raises(ValueError, match="rtol must be a number, or one for each part of y0, with its keys"):
            odeint(func, y0, T, per_sample=per_sample, rtol=wrong)
    with pytest.raises(ValueError, match="tensors in the form of y, got a dict of 'x', 'y'"):
        odeint(lambda t, s: {"x": s["x"], "y": s["x"]}, y0, T, per_sample=per_sample)


def test_func_must_return_the_form_of_the_state():
    y0 = (torch.ones(3, 2, dtype=F64), torch.ones(3, dtype=F64))
    for wrong, said in (
        (lambda t, s: s[0], "tensors in the form of y, got Tensor"),
        (lambda t, s: (s[0], s[1], s[1]), "got a tuple of 3"),
        (lambda t, s: (s[0], s[1][:, None]), r"part 1 of a slope like y, of shape \(3,\)"),
        (lambda t, s: (s[0] + t, s[1] + t), r"part 1 .*got \(3, 3\)"),  # t is (B, 1), as for the part of two axes
    ):
        with pytest.raises(ValueError, match=said):
            odeint(wrong, y0, T, per_sample=True)


@pytest.mark.parametrize(
    "y0, options, said",
    [
        ((), {}, "holds no tensor"),
        ((torch.ones(2), 1.0), {}, "tuple or dict of tensors, got float"),
        ((torch.ones(2), torch.ones(2, dtype=F64)), {}, "one dtype"),
        (torch.tensor(1 + 1j), {}, "view_as_real"),
        (torch.tensor(1.0).half(), {}, "float32 or float64, got torch.float16"),
        ((torch.ones(2), torch.ones(3)), {"per_sample": True}, r"batch axis B first in every part.*\[2, 3\]"),
        ((torch.ones(2), torch.tensor(1.0)), {"per_sample": True}, "one is 0-d"),
        (torch.tensor(1.0), {"per_sample": True}, "one is 0-d"),
        ("y", {}, "y0 must be a tensor"),
    ],
)
def test_what_is_no_state_is_refused(y0, options, said):
    with pytest.raises(ValueError, match=said):
        odeint(lambda t, y: y, y0, T, **options)


def test_a_func_that_writes_to_a_part_is_refused():
    def writes(t, state):
        state[1].mul_(2.0)
        return state

    for per_sample in (False, True):
        with pytest.raises(ValueError, match="in place"):
            odeint(writes, (torch.ones(2, 2), torch.ones(2, 3)), T, per_sample=per_sample)


def test_rows_of_a_tree_that_depend_on_each_other_are_refused_once_looked_at():
    def mixes(t, state):
        return (state[0] - state[0].mean(0), state[1])

    y0 = (torch.randn(4, 2, dtype=F64), torch.randn(4, dtype=F64))
    with pytest.raises(ValueError, match="changes with the other rows"):
        odeint(mixes, y0, T, per_sample=True)
    func = Coupled()
    checks = [odeint(func, tree((3,)), T, per_sample=True, **TOL).stats.nfev_check for _ in range(2)]
    assert checks == [1, 0]
