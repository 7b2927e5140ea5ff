"""torchdiffeq's calls on our solver: states of every form, times, shapes, and what is refused."""

from __future__ import annotations

import collections

import pytest
import torch
import torchdiffeq

import stepsmith as ss
from stepsmith.neural.torchdiffeq import SolveFailed, odeint, odeint_adjoint

F32, F64 = torch.float32, torch.float64
Pair = collections.namedtuple("Pair", "a b")


def decay(t, y):
    return -y * (1.0 + t.cos())


def exact(y0, t):
    return y0 * torch.exp(-(t - t[0]) - t.sin() + t[0].sin()).view(-1, *(1,) * y0.dim())


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("ends", [(0.0, 2.0), (2.0, 0.5)])
def test_a_tensor_of_any_shape_is_solved_as_torchdiffeq_solves_it(shape, dtype, ends):
    torch.manual_seed(0)
    y0, t = torch.randn(shape, dtype=dtype), torch.linspace(*ends, 4, dtype=dtype)
    seen = set()

    def func(t, y):
        seen.add((t.shape, t.dtype, y.shape, y.dtype))
        return decay(t, y)

    y = odeint(func, y0, t, rtol=1e-6, atol=1e-8)
    theirs = torchdiffeq.odeint(decay, y0, t, rtol=1e-6, atol=1e-8)
    assert (y.shape, y.dtype) == (theirs.shape, theirs.dtype)
    assert seen == {(torch.Size([]), dtype, torch.Size(shape), dtype)}
    torch.testing.assert_close(y, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y, exact(y0, t), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
def test_tuples_dicts_and_nested_states_come_back_in_their_form(solve):
    a, b = torch.tensor(2.0, dtype=F64), torch.ones(2, 3, dtype=F64)
    t = torch.linspace(0.0, 1.0, 5, dtype=F64)
    given = {"adjoint_params": ()} if solve is odeint_adjoint else {}
    ya, yb = solve(lambda t, y: (-y[0] * y[1].mean(), -y[1]), (a, b), t, **given)
    theirs = torchdiffeq.odeint(lambda t, y: (-y[0] * y[1].mean(), -y[1]), (a, b), t)
    torch.testing.assert_close(ya, theirs[0], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(yb, theirs[1], rtol=1e-6, atol=1e-8)

    found = solve(lambda t, y: {"n": {"b": -y["n"]["b"]}, "a": -y["a"] * y["n"]["b"].mean()},
                  {"n": {"b": b}, "a": a}, t, **given)  # fmt: skip
    assert set(found) == {"n", "a"}
    torch.testing.assert_close(found["a"], ya, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["n"]["b"], yb, rtol=1e-12, atol=1e-12)
    pair = solve(lambda t, y: Pair(-y.a * y.b.mean(), -y.b), Pair(a, b), t, **given)
    assert isinstance(pair, Pair) and pair.b.shape == (5, 2, 3)


def test_the_steps_are_torchdiffeq_s_where_the_error_weights_are():
    """bosh3's weights are those of torchdiffeq, for tensors and in the largest norm over the parts of a tuple."""

    class Field:
        def __init__(self):
            self.steps = []

        def __call__(self, t, y):
            return tuple(-x * (1.0 + t.cos()) for x in y) if isinstance(y, tuple) else decay(t, y)

        def callback_accept_step(self, t0, y0, dt):
            self.steps.append((float(t0), float(dt)))

    t = torch.tensor([0.0, 2.0], dtype=F64)
    for y0 in (torch.ones(3, dtype=F64), (torch.ones((), dtype=F64), 1e-3 * torch.ones(50, dtype=F64))):
        ours, theirs = Field(), Field()
        odeint(ours, y0, t, rtol=1e-5, atol=1e-7, method="bosh3", options={"controller": "torchdiffeq"})
        torchdiffeq.odeint(theirs, y0, t, rtol=1e-5, atol=1e-7, method="bosh3")
        assert len(ours.steps) == len(theirs.steps) > 10
        # the last step ends at t[-1] here, and oversteps it there
        for mine, other in zip(ours.steps[:-1], theirs.steps, strict=False):
            assert mine == pytest.approx(other, rel=1e-7)
        assert sum(ours.steps[-1]) == 2.0


TOLERANCES = {
    "a tensor": (torch.ones(2, 2, dtype=F64), torch.tensor([1e-3, 1e-7]), torch.tensor([[1e-4], [1e-8]])),
    "a part": ((torch.ones((), dtype=F64), torch.ones(3, dtype=F64)), (1e-3, 1e-7), (1e-4, 1e-8)),
    "both": ((torch.ones((), dtype=F64), torch.ones(3, dtype=F64)), 1e-4, (1e-4, torch.tensor([1e-4, 1e-6, 1e-8]))),
}


@pytest.mark.parametrize("case", TOLERANCES)
def test_tolerances_of_components_and_parts(case):
    y0, rtol, atol = TOLERANCES[case]
    found = []
    for library in (odeint, torchdiffeq.odeint):
        calls, method = [0], "bosh3"

        def func(t, y, calls=calls):
            calls[0] += 1
            return tuple(decay(t, x) for x in y) if isinstance(y, tuple) else decay(t, y)

        own = {"options": {"controller": "torchdiffeq"}} if library is odeint else {}
        y = library(func, y0, torch.tensor([0.0, 2.0], dtype=F64), rtol=rtol, atol=atol, method=method, **own)
        found.append((calls[0], y))
    (ours, y), (theirs, y_) = found
    # the same steps; the last one ends at the last time here, and is interpolated there
    assert ours == theirs > 40
    torch.testing.assert_close(y, y_, rtol=5e-3, atol=1e-4)
    with pytest.raises(ValueError, match="adjoint_rtol|adjoint_atol"):
        odeint_adjoint(lambda t, y: y, y0, T, rtol=rtol, atol=atol, adjoint_params=())


@pytest.mark.parametrize("method", [None, "rk4"])
def test_one_time_gives_y0_back(method):
    y0 = torch.ones(2, dtype=F64, requires_grad=True)
    y = odeint(decay, y0, torch.tensor([1.0]), method=method)
    assert y.shape == (1, 2)
    y.sum().backward()
    assert torch.equal(y0.grad, torch.ones(2, dtype=F64))


T = torch.tensor([0.0, 1.0])
REFUSED = {
    "complex": (torch.ones(2, dtype=torch.complex64), T, {}, "view_as_real"),
    "half": (torch.ones(2, dtype=torch.float16), T, {}, "float32 or float64"),
    "empty": (torch.ones(0), T, {}, "empty"),
    "no tensor": ((torch.ones(2), 1.0), T, {}, "tuple or dict of tensors, got float"),
    "nothing": ((), T, {}, "holds no tensor"),
    "dtypes": ((torch.ones(2), torch.ones(2, dtype=F64)), T, {}, "one dtype"),
    "list of times": (torch.ones(2), [0.0, 1.0], {}, "1-D tensor of times"),
    "whole times": (torch.ones(2), torch.tensor([0, 1]), {}, "1-D tensor of times"),
    "repeated": (torch.ones(2), torch.tensor([0.0, 1.0, 1.0]), {}, "holds a time twice"),
    "turning": (torch.ones(2), torch.tensor([0.0, 1.0, 0.5]), {}, "turns back"),
    "three tolerances": (torch.ones(2), T, {"rtol": torch.tensor([1e-3, 1e-4, 1e-4])}, "a tensor of y0's shape"),
    "three parts": ((torch.ones(2), torch.ones(1)), T, {"atol": (1e-3, 1e-4, 1e-4)}, "each of 2 parts"),
    "negative": (torch.ones(2), T, {"atol": torch.tensor([1e-3, -1e-4])}, "not negative"),
    "both zero": (torch.ones(2), T, {"rtol": torch.zeros(2), "atol": torch.tensor([1e-3, 0.0])}, "both zero in a"),
    "words": (torch.ones(2), T, {"rtol": "small"}, "rtol must be"),
    "unknown": (torch.ones(2), T, {"method": "dopri"}, "unknown .* 'dopri'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason(case):
    y0, t, given, words = REFUSED[case]
    func = (lambda t, y: y) if isinstance(y0, tuple) else decay
    with pytest.raises(ValueError, match=words):
        odeint(func, y0, t, **given)


def test_a_method_made_for_torchdiffeq_is_told_from_a_name():
    method = ss.controller("pi34").for_torchdiffeq("dopri5")
    with pytest.raises(ValueError, match="for torchdiffeq itself"):
        odeint(decay, torch.ones(2), T, method=method)


@pytest.mark.parametrize(
    ("func", "words"),
    [
        (lambda t, y: (y[0], y[1], y[1]), "got a tuple of 3"),
        (lambda t, y: (y[0], y[1].sum()), r"part 1 of a slope like y, of shape \(3,\)"),
        (lambda t, y: (y[0], y[1].double()), "part 1 of .*got .*float64"),
        (lambda t, y: None, "in the form of y, got NoneType"),
        (lambda y: y, "called as func"),
        (lambda t, y: (y[0], y[1].mul_(2)), "in place"),
    ],
)
def test_a_func_that_does_not_fit_is_refused(func, words):
    with pytest.raises(ValueError, match=words):
        odeint(func, (torch.ones(2), torch.ones(3)), T)


def test_a_list_of_slopes_will_do_for_a_tuple():
    a, b = odeint(lambda t, y: [-y[0], -y[1]], (torch.ones(2), torch.ones(3)), T)
    assert a.shape == (2, 2) and b.shape == (2, 3)


def test_a_solve_that_fails_says_so():
    y0 = torch.tensor([1.0], dtype=F64)
    with pytest.raises(SolveFailed, match="failed at t = (1|0.99)"):
        odeint(lambda t, y: y * y, y0, torch.tensor([0.0, 2.0], dtype=F64))
    with pytest.raises(AssertionError, match="step limit"):
        odeint(decay, y0, T, options={"max_num_steps": 2})
    with pytest.raises(SolveFailed, match="not finite at the initial state"):
        odeint(lambda t, y: y / 0.0, y0, T)
