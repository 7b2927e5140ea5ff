"""torchdiffeq's calls on our solver: options, controllers, norms and callbacks."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchdiffeq

import stepsmith as ss
from stepsmith.neural.torchdiffeq import odeint, odeint_adjoint

F64 = torch.float64
T = torch.tensor([0.0, 1.0, 3.0], dtype=F64)
#: torchdiffeq's law at the tolerances asked for, with its steps
ITS_LAW = {"controller": "torchdiffeq"}


class Field(torch.nn.Module):
    """Calls of a field, and what its callbacks were told."""

    def __init__(self, callbacks=(), suffix=""):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(2.0, dtype=F64))
        self.calls, self.told = 0, {name: [] for name in callbacks}
        for name in callbacks:
            setattr(self, name + suffix, lambda t, y, dt, name=name: self.told[name].append((t, y, dt)))

    def forward(self, t, y):
        self.calls += 1
        return -self.a * y * t.cos()


def solved(options=None, solve=odeint, t=T, y0=None, **given):
    func = Field(*given.pop("field", ()))
    y = solve(func, torch.ones(2, dtype=F64) if y0 is None else y0, t, rtol=1e-6, atol=1e-8, options=options, **given)
    return func, y


def steps(options=None, t=T, **given):
    """(start, size) of the accepted steps."""
    func, y = solved(options, t=t, field=(("callback_accept_step",),), **given)
    torch.testing.assert_close(y[-1], y[0] * torch.exp(2 * (t[0].sin() - t[-1].sin())), rtol=1e-4, atol=1e-5)
    return [(float(t), float(dt)) for t, _, dt in func.told["callback_accept_step"]]


def test_first_step_and_limits():
    assert steps({"first_step": 0.01})[0] == (0.0, 0.01)
    assert max(h for _, h in steps()) > 0.2 > 0.1 >= max(h for _, h in steps({"max_step": 0.1}))
    # steps no longer than asked for by the error are taken as they are
    small = solved({"min_step": 0.5})[0].calls
    assert small < 60 < solved()[0].calls
    with pytest.raises(AssertionError, match="step limit"):
        solved({"max_num_steps": 3})
    assert len(steps({"max_num_steps": 1000, "dtype": F64})) == len(steps())


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_end_where_they_are_told_to(reverse):
    t = T.flip(0) if reverse else T
    sign = -1.0 if reverse else 1.0
    ends = {start + sign * h for start, h in steps({"step_t": torch.tensor([2.1, 0.33, 1.0, 7.0], dtype=F64)}, t=t)}
    for end in (2.1, 0.33, 1.0):
        assert min(abs(x - end) for x in ends) < 1e-14
    with pytest.raises(ValueError, match="twice"):
        solved({"step_t": torch.tensor([0.5]), "jump_t": torch.tensor([0.5])})


@pytest.mark.parametrize("stops", [{}, {"step_t": [2.0, 6.5]}, {"jump_t": torch.tensor([2.0, 6.5], dtype=F64)}])
def test_attempts_are_counted_between_two_outputs_as_in_torchdiffeq(stops):
    t = torch.tensor([0.0, 4.0, 4.1, 4.2, 9.0, 9.1], dtype=F64)

    def attempts(library, most, **own):
        options = {"max_num_steps": most, **stops, **own}
        if library is torchdiffeq.odeint:
            options = {key: torch.as_tensor(x, dtype=F64) if key in stops else x for key, x in options.items()}
        return library(lambda t, y: -2.0 * y * t.cos() * (3.0 * t).sin(), torch.ones(2, dtype=F64), t, rtol=1e-6,
                       atol=1e-8, options=options)  # fmt: skip

    # some 38 in the longest interval, and 75 in all five
    for library, own in ((torchdiffeq.odeint, {}), (odeint, ITS_LAW)):
        with pytest.raises(AssertionError, match="34"):
            attempts(library, 34, **own)
    torch.testing.assert_close(attempts(odeint, 42, **ITS_LAW), attempts(torchdiffeq.odeint, 42), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
def test_a_jump_costs_nothing_where_it_is_known(solve, ends, dtype):
    class Jump(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, t, y):
            self.calls += 1
            return -0.5 * y if t < 0.375 else y * y - 3.0

    t = torch.tensor([ends[0], 0.5, ends[1]], dtype=dtype)
    found = []
    for options in (ITS_LAW, {**ITS_LAW, "jump_t": torch.tensor([0.375])}):
        func, y0 = Jump(), torch.tensor([0.1, 0.2], dtype=dtype, requires_grad=True)
        y = solve(func, y0, t, rtol=1e-6, atol=1e-6, options=options)
        (g,) = torch.autograd.grad(y.square().sum(), y0)
        found.append((func.calls, y.detach(), g))
    (plain, y, g), (known, y_, g_) = found
    assert y_.shape == (3, 2) and known < plain
    torch.testing.assert_close(y, y_, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(g, g_, rtol=3e-3, atol=1e-3)


def test_a_norm_of_one_s_own_decides_and_sees_the_state_in_its_form():
    seen = []

    def norm(state):
        seen.append(state)
        return 10.0 * max(part.abs().max() for part in state)

    func, y0 = Field(), (torch.ones((), dtype=F64), torch.ones(2, 3, dtype=F64))

    def calls(library, **given):
        n = func.calls
        library(lambda t, y: tuple(func(t, part) for part in y), y0, T, rtol=1e-6, atol=1e-8, method="bosh3", **given)
        return func.calls - n

    assert calls(odeint, options={**ITS_LAW, "norm": norm}) > 1.5 * calls(odeint)
    assert all(isinstance(s, tuple) and [p.shape for p in s] == [(), (2, 3)] for s in seen)
    theirs = calls(torchdiffeq.odeint, options={"norm": norm})
    assert abs(calls(odeint, options={**ITS_LAW, "norm": norm}) - theirs) <= 8  # two parts, the last step


def test_any_controller_takes_the_steps():
    plain = steps(ITS_LAW)
    assert steps({"controller": ss.controller("torchdiffeq")}) == plain != steps()
    other = steps({"controller": "pi34"})
    assert other != plain and steps({"controller": ss.controller("pi34")}) == other
    assert len(steps({"controller": "neural-field"}, method="tsit5")) > 3
    even = steps({"even_steps": True})
    assert even[-1][1] == pytest.approx(even[-2][1], rel=1e-9)
    with pytest.raises(ValueError, match="pi35"):
        solved({"controller": "pi35"})


def test_the_backward_solve_has_the_controller_too():
    def attempts(**given):
        name = ("callback_step",)
        func, y = solved(solve=odeint_adjoint, field=(name, "_adjoint"), **given)
        y[-1].sum().backward()
        return [float(dt) for _, _, dt in func.told["callback_step"]]

    pi = attempts(options={"controller": "pi34"})
    assert pi == attempts(options={"controller": "pi34"}, adjoint_options={"norm": "seminorm"})
    assert pi != attempts(options={"controller": "pi34"}, adjoint_options={"controller": "torchdiffeq"})


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("parted", [False, True])
def test_callbacks_are_called_as_in_torchdiffeq(parted, reverse):
    names = ("callback_step", "callback_accept_step", "callback_reject_step")
    found = []
    for library in (odeint, torchdiffeq.odeint):
        func = Field(names)
        if parted:
            func.forward = lambda t, y, one=func.forward: (one(t, y[0]), one(t, y[1]))
        y0 = (torch.ones((), dtype=F64), torch.ones(3, dtype=F64)) if parted else torch.ones(2, dtype=F64)
        own = ITS_LAW if library is odeint else {}
        library(func, y0, T.flip(0) if reverse else T, rtol=1e-7, atol=1e-9, method="bosh3",
                options={"first_step": 1.5, **own})  # fmt: skip
        found.append(func.told)
    ours, theirs = found
    assert len(ours["callback_step"]) == sum(len(ours[name]) for name in names[1:])
    for name in names:
        assert len(ours[name]) == len(theirs[name]) > 0
        for (t, y, dt), (t_, y_, dt_) in zip(ours[name][:-1], theirs[name], strict=False):
            assert (t.shape, dt.shape) == (t_.shape, dt_.shape) == ((), ())
            assert (float(t), float(dt)) == pytest.approx((float(t_), float(dt_)), rel=1e-6, abs=1e-9)
            torch.testing.assert_close(y, y_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("method", "options"), [("dopri5", {}), ("rk4", {"step_size": 0.1})])
def test_callbacks_of_the_backward_solve(method, options):
    names = ("callback_step",) if method == "rk4" else ("callback_step", "callback_accept_step")
    func, y = solved(options, odeint_adjoint, field=(names, "_adjoint"), method=method)
    assert not func.told["callback_step"]
    y.sum().backward()
    t, (state, cotangent), dt = func.told["callback_step"][0]
    assert float(t) == 3.0 and float(dt) > 0.0
    assert torch.equal(state, y[-1]) and cotangent.shape == (2,)
    if method == "rk4":
        assert len(func.told["callback_step"]) == 30


def test_what_a_method_does_not_use_brings_a_warning():
    with pytest.warns(UserWarning, match="'rk4' does not use callback_reject_step"):
        solved(method="rk4", field=(("callback_reject_step",),))
    with pytest.warns(UserWarning, match=r"'rk4' does not use options\['first_step'\]"):
        solved({"first_step": 0.1}, method="rk4")
    with pytest.warns(UserWarning, match=r"'dopri5' does not use options\['step_size'\]"):
        solved({"step_size": 0.1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved({"norm": torch.linalg.norm}, method="rk4")
        solved()


WRONG = {
    "unknown": ({"frist_step": 0.1}, "frist_step"),
    "no dict": ("dopri5", "options must be a dict"),
    "warm start": ({"warm_start": True}, "NeuralODE.warm_start=True"),
    "safety": ({"safety": 0.8}, "safety.*number of torchdiffeq's law"),
    "no safety": ({"safety": "high"}, "safety must be"),
    "safety of a controller": ({"safety": 0.9, "controller": "pi34"}, "number of torchdiffeq's law"),
    "dtype": ({"dtype": torch.float32}, "times and step sizes are float64"),
    "norm": ({"norm": "seminorm"}, "norm must be a function"),
    "first_step": ({"first_step": -1.0}, "first_step"),
    "limits": ({"min_step": 0.5, "max_step": 0.1}, "max_step must be"),
    "steps": ({"max_num_steps": 0}, "max_num_steps must be a whole number"),
    "step_t": ({"step_t": torch.tensor(0.5)}, "step_t must be a 1-D tensor"),
    "even": ({"even_steps": 1}, "even_steps must be True or False"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_refused(case):
    options, words = WRONG[case]
    for solve in (odeint, odeint_adjoint):
        with pytest.raises(ValueError, match=words):
            solved(options, solve)


def test_the_law_s_own_numbers_will_do():
    assert steps({"safety": 0.9, "ifactor": 10.0, "dfactor": 0.2}) == steps()
