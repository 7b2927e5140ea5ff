"""NeuralODE with events, what of its options does not go together, and copies of it with each option."""

import copy
import io
import math
import pickle

import pytest
import torch

import stepsmith as ss
from module_fields import Field, Largest, Pair, close, pair, seeded
from torch_fields import F64, state

NeuralODE, odeint, regulariser = ss.neural.NeuralODE, ss.neural.odeint, ss.neural.regulariser
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)


# -- events ------------------------------------------------------------------------------------------------------------


class Falling(torch.nn.Module):
    """A body that falls from a height; at 9.8 it lands after (2 h / 9.8)^(1/2)."""

    def __init__(self):
        super().__init__()
        self.g = torch.nn.Parameter(torch.tensor(9.8, dtype=F64))

    def forward(self, t, y):
        return torch.stack([y[:, 1], -self.g.expand(len(y))], 1)


class Floor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5, dtype=F64))

    def forward(self, t, y):
        return y[:, 0] - self.level


HEIGHTS = torch.tensor([[1.0, 0.0], [5.0, 0.0], [20.0, 0.0]], dtype=F64)
SPAN = torch.tensor([0.0, 0.3, 1.5], dtype=F64)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("given", [{}, {"regulariser": "er_sum"}, {"regulariser": "local_biased"}])
def test_events_are_those_of_odeint_and_their_parameters_the_modules(given, per_sample):
    ode = NeuralODE(Falling(), per_sample=per_sample, event_fn=Floor(), **given)
    assert set(dict(ode.named_parameters())) == {"func.g", "event_fn.level"}
    out = ode(HEIGHTS, SPAN)
    sol = odeint(ode.func, HEIGHTS, SPAN, per_sample=per_sample, event_fn=ode.event_fn)
    assert torch.equal(out.solution.event_t, sol.event_t) or out.solution.event_t.isnan().any()
    torch.testing.assert_close(out.solution.event_t, sol.event_t, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(out.y, sol.y, rtol=0, atol=0, equal_nan=True)
    assert out.solution.success and out.mask.all()
    first = out.solution.event_t.reshape(-1)[0]
    assert float(first) == pytest.approx(math.sqrt(2 * 0.5 / 9.8), rel=1e-9)
    by_g, by_level = torch.autograd.grad(first, list(ode.parameters()))
    assert float(by_g) == pytest.approx(-0.5 * float(first) / 9.8, rel=1e-7)
    assert float(by_level) == pytest.approx(-1 / (9.8 * float(first)), rel=1e-7)


def test_a_penalty_with_events_is_that_of_the_steps_taken():
    func, event = Falling(), lambda t, y: y[:, 0]
    swing = lambda t, y: func(t, y) - torch.sin(5 * y)  # noqa: E731
    out = NeuralODE(swing, event_fn=event, per_sample=True, regulariser="er_sum")(HEIGHTS, SPAN)
    sol = odeint(swing, HEIGHTS, SPAN, event_fn=event)
    assert out.penalty.requires_grad and sol.event_t.isfinite().any()
    close(out.penalty, sol.heuristics.R_E.mean(), 1e-12)
    steered = NeuralODE(swing, event_fn=event, per_sample=True, regulariser=regulariser("steer", b=0.3))
    ended = steered(HEIGHTS, SPAN, seeded())
    again = odeint(swing, HEIGHTS, ended.solution.t, event_fn=event)
    torch.testing.assert_close(ended.solution.event_t, again.event_t, rtol=0, atol=0, equal_nan=True)


def test_outputs_behind_an_event_are_no_failure_and_stay_nan():
    func = lambda t, y: torch.stack([y[:, 1], -9.8 + 0 * y[:, 0] + torch.where(y[:, 0] > 19, t[:, 0] / 0, 0)], 1)  # noqa: E731
    with pytest.warns(UserWarning, match="1 of 3 samples failed"):
        out = NeuralODE(func, per_sample=True, event_fn=lambda t, y: y[:, 0], on_failure="mask")(HEIGHTS, SPAN)
    assert out.mask.tolist() == [True, True, False]
    assert out.y[-1, :2].isnan().all() and torch.equal(out.y[-1, 2], HEIGHTS[2])
    assert out.solution.event_t[:2].isfinite().all()


# -- what does not go together -----------------------------------------------------------------------------------------


LOCAL = regulariser("local_unbiased", step="automatic", method="tsit5", rtol=1e-6, atol=1e-9)
EVENT = {"event_fn": lambda t, y: y[..., 0]}


@pytest.mark.parametrize("given, match", [
    ({"method": "rk4", "rtol": 1e-3, "warm_start": True}, "'rk4' takes the steps of a grid, and rtol, warm_start mean"),
    ({"method": "rk4", "steps": "auto"}, "'rk4' takes the steps of a grid, and steps means nothing"),
    ({"method": "rk4", "controller": "h211b"}, "'rk4' takes the steps of a grid, and controller means nothing"),
    ({"method": "rk4", "even_steps": True, **EVENT}, "'rk4' takes the steps of a grid, and even_steps, event_fn mean"),
    ({"method": "rk4", "norm": Largest()}, "'rk4' takes the steps of a grid, and norm means nothing"),
    ({"method": "rk4", "heuristics": "E"}, "'rk4' has no error estimate"),
    ({"method": "rk4", "adjoint": "interpolating"}, "'rk4' has no dense output to go back along"),
    ({"method": "rk4", "step_size": -1.0}, "step_size must be a positive finite number or None"),
    ({"method": "rk4", "tolerance": "torchdiffeq"}, "tolerance means nothing to 'rk4'"),
    ({"method": "rk4", "regulariser": "er_mean"}, "er_mean.* needs the estimates of steps .*use \"tsit5\""),
    ({"method": "rk4", "regulariser": "local_biased", "step_size": 0.1}, "needs the estimates of steps"),
    ({"method": "rk4", "regulariser": LOCAL}, "local_unbiased.* without step_size the times are the grid"),
    ({"method": "rk4", "regulariser": regulariser("local_unbiased", step="automatic"), "step_size": 0.1},
     "takes a step of its own and needs method, rtol, atol"),
    ({"method": "rk4", "regulariser": "kinetic", "adjoint": "none"}, "without gradient"),
    ({"step_size": 0.1}, "step_size belongs to the methods on a grid"),
    ({"rtol": {"x": -1.0, "p": 1e-3}}, "rtol must be a finite number of at least 0 and at most 1, got -1.0"),
    ({"rtol": torch.tensor([1e-3, 2.0])}, "rtol must be finite, at least 0 and at most 1"),
    ({"atol": (1e-3, torch.tensor([math.nan]))}, "atol must be finite, at least 0"),
    ({"rtol": (0.0, 0.0), "atol": 0.0}, "both zero"),
    ({"norm": 3}, "norm must be a function of the state"),
    ({"norm": Largest(), "per_sample": True}, "norm is a function of the whole state.*per_sample=False"),
    ({"norm": Largest(), "regulariser": "kinetic"}, "kinetic.* adds columns to the state, of which norm of components"),
    ({"rtol": (1e-3, 1e-4), "regulariser": "taylor2"}, "taylor2.* adds columns to the state, of which rtol of"),
    ({"event_fn": 3}, r"event_fn must be a function of \(t, y\)"),
    ({"regulariser": "kinetic", **EVENT}, "kinetic.* needs the solve up to the last time"),
    ({"regulariser": "local_unbiased", **EVENT}, "local_unbiased.* needs the solve up to the last time"),
    ({"regulariser": regulariser("er_sum") + regulariser("frobenius"), **EVENT}, "er_sum.*needs the solve up to"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused_at_once(given, match):
    with pytest.raises(ValueError, match=match) as caught:
        NeuralODE(Field(), **given)
    assert len(str(caught.value)) < 600


def test_a_regulariser_of_ones_own_that_does_not_say_what_it_does_is_refused_in_training():
    from stepsmith.integrators.neural.regularisers import Kinetic, Local

    class Silent(Kinetic):
        integrates = False

    class Timed(Local):
        def __init__(self):
            super().__init__("uniform", "automatic", method="tsit5", rtol=1e-6, atol=1e-9)
            self.adds_time = False

    with pytest.raises(ValueError, match="adds columns"):
        NeuralODE(Field(), regulariser=Silent(), norm=Largest())(state(), T)
    with pytest.raises(ValueError, match="without step_size"):
        NeuralODE(Field(), "rk4", regulariser=Timed())(state(), T)


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [
    {"method": "rk4", "step_size": 0.1},
    {"rtol": {"x": torch.full((3,), 1e-4), "p": 1e-5}, "atol": {"x": 1e-5, "p": 1e-6}, "per_sample": True},
    {"norm": Largest(), "warm_start": True},
    {"norm": Largest(), "steps": "auto", "jump_t": [0.2]},
])  # fmt: skip
def test_modules_are_copied_pickled_saved_and_loaded(given):
    ode = NeuralODE(Pair(), **given)
    out = ode(pair(), T)
    file = io.BytesIO()
    torch.save(ode, file)
    file.seek(0)
    fresh = NeuralODE(Pair(), **given)
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    fresh.load_state_dict(ode.state_dict())
    twins = [copy.deepcopy(ode), pickle.loads(pickle.dumps(ode)), torch.load(file, weights_only=False), fresh]
    out = ode(pair(), T)
    for twin in twins:
        close(twin(pair(), T).y, out.y, 0.0)
        assert repr(twin) == repr(ode) and not set(map(id, twin.parameters())) & set(map(id, ode.parameters()))


def test_a_module_with_an_event_is_copied_with_its_event():
    ode = NeuralODE(Falling(), event_fn=Floor(), per_sample=True)
    for twin in (copy.deepcopy(ode), pickle.loads(pickle.dumps(ode))):
        with torch.no_grad():
            twin.event_fn.level.fill_(0.9)
        assert float(ode.event_fn.level) == 0.5 and "event_fn.level" in twin.state_dict()
        found, own = (x(HEIGHTS, SPAN).solution.event_t[0] for x in (twin, ode))
        assert float(found) == pytest.approx(math.sqrt(0.2 / 9.8)) and float(found) < float(own)
