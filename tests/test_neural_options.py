"""Options of odeint, NeuralODE, regularisers and strengths: each error names the option, what it got, and what it
takes.
"""

import inspect
import math

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError
from torch_fields import F64, state

odeint, NeuralODE, regulariser, strength = (
    ss.neural.odeint,
    ss.neural.NeuralODE,
    ss.neural.regulariser,
    ss.neural.strength,
)
FUNC = staticmethod(lambda t, y: -y)


class Decay(torch.nn.Module):
    def forward(self, t, y):
        return -y


WRONG = {
    "rtol": [
        True,
        1e300,
        "1e-3",
        (1e-3, 1e-3),  # a sample has three components
        [1e-3] * 4,
        torch.tensor([1e-3, 1e-3]),
        np.full(15, 1e-3),
        -1e-3,
        math.nan,
        math.inf,
        None,
        1j,
    ],
    "atol": [True, "1e-3", (1e-3, 1e-3), torch.full((4,), 1e-3), -1e-3, math.nan, math.inf, None],
    "max_steps": [True, 0, -1, 1.5, 5.0, "5", math.nan, math.inf, None, [5]],
    "first_step": [True, 0.0, -0.1, "0.1", [0.1], math.nan, math.inf],
    "per_sample": [1, 0, "yes", 1.0, [], np.array([True, False])],
    "heuristics": ["R", 1, 0, [], "e"],
    "compact": [1, "no", None],
    "even_steps": [1, "no", None],
    "checkpoint_every": [True, 0, 1.5, "2", [2], math.nan],
    "adjoint": ["discreet", None, True, ["discrete"]],
    "method": ["dorpi5", 3, ["tsit5"], [], None, ""],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize("name, value", CASES, ids=lambda x: str(x)[:20])
@pytest.mark.parametrize("host", ["function", "module", "plain function"])
def test_what_an_option_cannot_be(name, value, host):
    from stepsmith.integrators.neural import odeint as plain

    if name == "heuristics" and value is None and host == "module":
        pytest.skip("the module chooses")
    with pytest.raises(ValueError, match=name) as caught:
        if host == "module":
            ode = NeuralODE(Decay(), **{"per_sample": True, name: value})
            ode(state(), [0.0, 1.0])  # shapes of tolerances are those of the state
        elif host == "function":
            odeint(Decay(), state(), [0.0, 1.0], **{name: value})
        else:
            plain(Decay(), state(), [0.0, 1.0], controller=ss.controller("pi34"), **{name: value})
    text = str(caught.value)
    assert len(text) < 600 and "not supported between" not in text and "positional argument" not in text


@pytest.mark.parametrize("value", [np.float64(0.1), torch.tensor(0.1), np.float32(0.1)])
def test_scalars_of_numpy_and_torch_are_numbers(value):
    sol = odeint(Decay(), state(), [0.0, 1.0], rtol=value, first_step=value, max_steps=np.int64(50))
    assert sol.success


def test_a_first_step_far_beyond_the_span_is_refused():
    for size in (1e300, 101.0):
        with pytest.raises(ValueError, match="first_step must be at most 100 times the span of t, which is 1, got"):
            odeint(Decay(), state(), [0.0, 1.0], first_step=size)
        with pytest.raises(ValueError, match="first_step must be at most 100 times the span"):
            NeuralODE(Decay(), first_step=size)(state(), [0.0, 1.0])
    # what another solve proposed may be longer than the span, and is cut
    sol = odeint(Decay(), state(), [0.0, 0.01], first_step=0.9, rtol=1e-3)
    assert sol.success and sol.stats.naccept_per_sample.tolist() == [1] * 5


@pytest.mark.parametrize("own_times", [False, True])
def test_a_sample_s_first_step_far_beyond_its_own_span_is_refused(own_times):
    ends = torch.tensor([1.0, 1.0, -0.01, 1.0, 1.0]) if own_times else torch.full((5,), 0.01)
    t = torch.stack([torch.zeros(5), ends]) if own_times else torch.tensor([0.0, 0.01])
    sizes = torch.full((5,), 0.01)
    sizes[2] = 1.01
    with pytest.raises(ValueError, match="100 times the span of a sample's t, which is 0.01 for sample 2, got 1.01"):
        odeint(Decay(), state(), t, first_step=sizes, per_sample=True)
    sizes[2] = 0.9
    sol = odeint(Decay(), state(), t, first_step=sizes, rtol=1e-3, per_sample=True)
    assert sol.success and sol.stats.naccept_per_sample[2] == 1


@pytest.mark.parametrize("value", [torch.tensor([1e-3, 1e-4, 1e-5]), (1e-3,), np.full(3, 1e-3)])
def test_tolerances_of_components_are_those_of_odeint(value):
    for name in ("rtol", "atol"):
        found = NeuralODE(Decay(), per_sample=True, **{name: value})(state(), [0.0, 1.0])
        assert torch.equal(found.y, odeint(Decay(), state(), [0.0, 1.0], **{name: value}).y)


@pytest.mark.parametrize("build, name, close", [
    (lambda **o: odeint(Decay(), state(), [0.0, 1.0], **o), "maxsteps", "max_steps"),
    (lambda **o: odeint(Decay(), state(), [0.0, 1.0], **o), "persample", "per_sample"),
    (lambda **o: NeuralODE(Decay(), **o), "regularizer", "regulariser"),
    (lambda **o: NeuralODE(Decay(), **o), "on_fail", "on_failure"),
    (lambda **o: regulariser("steer", **o), "bb", "b"),
    (lambda **o: regulariser("kinetic", **o), "ovre", "over"),
    (lambda **o: regulariser("local_biased", **o), "hold_frst", "hold_first"),
])  # fmt: skip
def test_unknown_options_name_the_nearest(build, name, close):
    with pytest.raises(OptionError, match=f"has no option '{name}': did you mean '{close}'"):
        build(**{name: 1})


def test_signatures_show_every_option():
    for entry in (odeint, NeuralODE, NeuralODE.__init__):
        parameters = inspect.signature(entry).parameters
        assert {"rtol", "atol", "per_sample", "max_steps", "first_step", "even_steps"} <= set(parameters)
        assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    # names, order and defaults are those of the solver beneath, but for the resolver of names and another library's
    # tolerances
    from stepsmith.integrators.neural import odeint as plain
    from stepsmith.integrators.neural.module import NeuralODE as PlainODE

    for upper, lower in ((odeint, plain), (NeuralODE, PlainODE)):
        upper_ones, lower_ones = (inspect.signature(x).parameters for x in (upper, lower))
        assert upper_ones["tolerance"].default is None
        upper_ones = {name: p for name, p in upper_ones.items() if name != "tolerance"}
        assert [*upper_ones, "resolve"] == list(lower_ones)
        assert all(p.default == lower_ones[name].default for name, p in upper_ones.items())


# -- func
# ------------------------------------------------------------------------------------------------------------------


async def a_coroutine(t, y):
    return -y


def a_generator(t, y):
    yield -y


@pytest.mark.parametrize("func, message", [
    (torch.nn.Linear(2, 2), r"func is called as func\(t, y\), and Linear takes \(input.*lambda t, y: net\(y\)"),
    (torch.nn.Sequential(torch.nn.Linear(2, 2)), r"Sequential takes \(input\)"),
    (lambda y: -y, r"called as func\(t, y\), and <lambda> takes \(y\)"),
    (lambda t, y, p: -y, r"<lambda> takes \(t, y, p\)"),
    (3, r"func must be callable as func\(t, y\), got int"),
    (None, "func must be callable.*got NoneType"),
])  # fmt: skip
def test_a_func_with_other_arguments(func, message):
    y0 = torch.ones(2, 2)
    for build in (lambda: odeint(func, y0, [0.0, 1.0], rtol=1e-4), lambda: NeuralODE(func)):
        with pytest.raises(ValueError, match=message):
            build()


def test_an_error_within_func_stays_its_own():
    def func(t, y):
        return y + "a"

    with pytest.raises(TypeError, match="str"):
        odeint(func, state(), [0.0, 1.0])


@pytest.mark.parametrize("func, message", [
    (lambda t, y: None, "got NoneType: does it lack a return"), (lambda t, y: (-y,), "got tuple: torch.cat"),
    (lambda t, y: [-y], "got list: torch.cat"), (lambda t, y: -y.numpy(), "got ndarray: torch.from_numpy"),
    (lambda t, y: 0.0, "got float"), (a_generator, "got generator"), (lambda t, y: -y.float(), "torch.float32"),
    (lambda t, y: -y[:, :2], r"shape \(5, 3\)"), (lambda t, y: (-y).to(torch.complex128), "complex128"),
])  # fmt: skip
def test_what_func_returns(func, message):
    for solve in (odeint, lambda f, *a: NeuralODE(f, regulariser="kinetic")(*a)):
        with pytest.raises(ValueError, match=f"func must return a tensor like y.*{message}"):
            solve(func, state(), [0.0, 1.0])


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_coroutine_is_no_slope():
    with pytest.raises(ValueError, match="got coroutine"):
        odeint(a_coroutine, state(), [0.0, 1.0])


@pytest.mark.parametrize("t", ["now", None, ["a", "b"], [True, False], 1.0, [[0.0, 1.0]], torch.tensor([0.0, 1j])])
def test_times_that_are_none(t):
    with pytest.raises(ValueError, match=r"t must be"):
        odeint(Decay(), state(), t)


def test_adjoint_params_and_generator():
    w = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="adjoint_params must be a list or tuple of tensors"):
        odeint(lambda t, y: -w * y, torch.ones(2, 3), [0.0, 1.0], rtol=1e-4, adjoint="backsolve", adjoint_params=w)
    with pytest.raises(ValueError, match="generator must be a torch.Generator or None, got 5"):
        NeuralODE(Decay())(state(), [0.0, 1.0], 5)
    # parameters that come from a generator serve every solve
    p = torch.nn.Parameter(torch.ones((), dtype=F64))
    ode = NeuralODE(lambda t, y: -p * y, adjoint="backsolve", adjoint_params=(x for x in [p]))
    grads = [
        torch.autograd.grad(ode(torch.ones(2, 1, dtype=F64), [0.0, 1.0]).y[-1].sum(), p)[0].item() for _ in range(2)
    ]
    assert grads == pytest.approx([-2 * math.exp(-1)] * 2, rel=1e-4)


@pytest.mark.parametrize("name, options, message", [
    ("steer", {}, r"'steer' needs b: regulariser\('steer', b=...\)"),
    ("steer", {"b": True}, "steer: b must be a positive finite number, got True"),
    ("steer", {"b": "1"}, "steer: b must be a positive finite number, got '1'"),
    ("kinetic", {"over": ["mean"]}, "kinetic: over must be one of"),
    ("kinetic", {"over": "men"}, "unknown kinetic: over 'men': did you mean 'mean'"),
    ("rnode", {"energy": True}, "weight must be a positive finite number, got True"),
    ("rnode", {"jacobian": "x"}, "weight must be a positive finite number, got 'x'"),
    ("local_unbiased", {"hold_first": 1}, "local: hold_first must be True or False, got 1"),
    ("local_unbiased", {"rtol": True}, "local: rtol must be a finite number"),
    ("local_unbiased", {"step": None}, "local: step must be one of"),
    ("local_unbiased", {"method": 5}, "local: method must be a name"),
    (["er_mean"], {}, "unknown regulariser"),
])  # fmt: skip
def test_options_of_regularisers(name, options, message):
    with pytest.raises(ValueError, match=message):
        regulariser(name, **options)


@pytest.mark.parametrize("build", [
    lambda v: strength.constant(v), lambda v: strength.exponential(v, 1.0, 5),
    lambda v: strength.exponential(1.0, v, 5),
    lambda v: strength.exponential(1.0, 2.0, v), lambda v: strength.linear(1.0, v, 5),
    lambda v: strength.linear(1.0, 2.0, v),
    lambda v: strength.constant(1.0)(v), lambda v: strength.of(lambda k: v)(0),
])  # fmt: skip
@pytest.mark.parametrize("value", [True, "1", None, [1.0], math.nan, math.inf, -1.0, 1j])
def test_numbers_of_strengths(build, value):
    with pytest.raises(ValueError, match="must be .*got"):
        build(value)


def test_a_strengths_description_names_what_is_unknown():
    with pytest.raises(ValueError, match="strength 'linear' has no option 'l2'.*it has: l0, l1, n"):
        strength.make("linear", l0=1.0, l2=2.0, n=3)
    with pytest.raises(ValueError, match="strength 'linear' needs l1, n"):
        strength.make("linear", l0=1.0)


def test_a_plan_takes_times_that_share_a_place_as_torchode_passes_them():
    reg = regulariser("kinetic") + 0.1 * regulariser("taylor2")
    plan = reg.plan(lambda t, y: -torch.sin(y) * t, state(), torch.tensor([0.0, 1.0], dtype=F64))
    t = torch.tensor(0.3, dtype=F64)
    assert torch.equal(plan.func(t.expand(5)[:, None], plan.y0), plan.func(torch.full((5, 1), 0.3, dtype=F64), plan.y0))
