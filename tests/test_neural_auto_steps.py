"""NeuralODE(steps="auto"): warm starts and even steps where they cost less, and never more than two per cent more."""

import copy

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.neural.step_choice import EVEN, PLAIN, WARM, StepChoice
from torch_fields import F64, mlp, state

NeuralODE = ss.neural.NeuralODE


def play(cost, solves, steps=4, seed=0):
    """`solves` solves that cost cost(way, k, rng): the evaluations of all, those of plain ones, and the ways taken."""
    choice, rng = StepChoice(torch.zeros(StepChoice.NUMBERS, dtype=F64)), np.random.default_rng(seed)
    total, plain, ways = 0, 0, []
    for k in range(solves):
        choice = StepChoice(choice.numbers)  # all that it knows is in its numbers
        way, before = choice.next(), rng.bit_generator.state
        plain += cost(PLAIN, k, rng)
        rng.bit_generator.state = before
        calls = cost(way, k, rng)
        choice.solved(way, calls, steps)
        total += calls
        ways.append(way)
    return total, plain, ways


#: evaluations of a solve of each way: plain, warm, even
COSTS = {
    "both cost less": lambda w, k, rng: (20, 16, 15)[w],
    "even steps cost the same": lambda w, k, rng: (20, 14, 14)[w],
    "warm alone": lambda w, k, rng: (20, 19, 26)[w],
    "neither": lambda w, k, rng: (14, 20, 26)[w],
    "nothing is gained": lambda w, k, rng: (14, 14, 14)[w],
    "noise alone": lambda w, k, rng: 14 + 6 * int(rng.integers(0, 4)),
    "rejections": lambda w, k, rng: (14, 13 + 12 * int(rng.random() < 0.4), 13 + 12 * int(rng.random() < 0.4))[w],
    "worse later": lambda w, k, rng: (20, 14 if k < 300 else 32, 14 if k < 300 else 32)[w],
    "growing": lambda w, k, rng: 14 + 6 * (k // 50) + (0, 7, 13)[w],
    "turning": lambda w, k, rng: 20 + (0, 6, 6)[w] * (1 if (k // 20) % 2 else -1),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", COSTS)
def test_it_never_costs_two_per_cent_more(name, seed):
    for solves in (200, 1000):
        total, plain, _ = play(COSTS[name], solves, seed=seed)
        assert total <= 1.02 * plain, (total / plain, solves)


def test_it_takes_the_way_that_costs_least():
    ways_of = {"both cost less": EVEN, "even steps cost the same": EVEN, "warm alone": WARM, "neither": PLAIN}
    for name, way in ways_of.items():
        total, plain, ways = play(COSTS[name], 400)
        assert np.mean(np.array(ways[100:]) == way) > 0.9 and ways[:16] == [PLAIN] * 16
        assert total < 0.85 * plain or name in ("warm alone", "neither")
    ways = play(COSTS["worse later"], 900)[2]
    assert np.mean(np.array(ways[100:300]) != PLAIN) > 0.9 and np.mean(np.array(ways[300:]) != PLAIN) < 0.03


def test_solves_of_many_steps_and_failures_are_plain():
    assert set(play(COSTS["both cost less"], 200, steps=51)[2]) == {PLAIN}
    choice = StepChoice(torch.zeros(StepChoice.NUMBERS, dtype=F64))
    for _ in range(60):
        choice.solved(choice.next(), COSTS["both cost less"](choice.next(), 0, None), 4)
    assert choice.next() != PLAIN or choice.solves % 16 == 0
    choice.failed()
    assert {choice.next() for _ in range(3)} == {PLAIN}


# -- solves ------------------------------------------------------------------------------------------------------------


class Field(torch.nn.Module):
    """A small network, which `drift` changes a little, as an optimiser's step would."""

    def __init__(self, dtype=F64):
        super().__init__()
        self.net, self.k = mlp(dtype=dtype), 0

    def forward(self, t, y):
        return self.net(y)

    def drift(self):
        self.k += 1
        with torch.no_grad():
            self.net[0].weight.mul_(1.0 + 0.003 * float(np.sin(0.1 * self.k)))


class Growing(Field):
    """A fast part that dies away: sizes grow by much along the solve."""

    def forward(self, t, y):
        return self.net(y) - 150.0 * torch.exp(-60.0 * t) * y


#: field, end time, tolerance, dtype, and whether the batch changes
TRAININGS = {
    "smooth and short": (Field, 0.5, 1e-5, F64, False),
    "growing sizes": (Growing, 1.0, 1e-3, F64, False),
    "hundreds of steps": (Field, 14.0, 1e-9, F64, False),
    "changing batches": (Field, 0.5, 1e-5, F64, True),
    "float32": (Field, 0.5, 1e-7, torch.float32, False),
}


def train(kind, solves, **options):
    """Evaluations of every solve, and the module.  Without gradients, which change no step."""
    make, end, tol, dtype, changing = TRAININGS[kind]
    ode = NeuralODE(make(dtype), "dopri5", rtol=tol, atol=tol, **options)
    t, calls = torch.tensor([0.0, end], dtype=F64), []
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _ in range(solves):
            y0 = state(dtype=dtype)
            if changing:
                y0 = y0 * torch.exp(torch.randn((), generator=draw, dtype=dtype))
            calls.append(ode(y0, t).solution.stats.nfev)
            ode.func.drift()
    return calls, ode


@pytest.mark.filterwarnings("ignore:rtol = 1e-07 is near")
@pytest.mark.parametrize("kind", TRAININGS)
def test_trainings_cost_no_more_and_smooth_ones_less(kind):
    solves = 25 if kind == "hundreds of steps" else 100
    plain, auto = train(kind, solves)[0], train(kind, solves, steps="auto")[0]
    assert sum(auto) <= 1.02 * sum(plain)
    if kind in ("smooth and short", "float32"):
        assert sum(auto[40:]) < 0.95 * sum(plain[40:])
    if kind == "hundreds of steps":
        assert auto == plain and min(plain) > 51 * 6


def test_a_training_goes_on_from_its_state_as_it_would_have():
    kind = "smooth and short"
    whole = train(kind, 80, steps="auto")[0]
    assert train(kind, 80, steps="auto")[0] == whole
    _, ode = train(kind, 40, steps="auto")
    twin = NeuralODE(copy.deepcopy(ode.func), "dopri5", rtol=1e-5, atol=1e-5, steps="auto")
    twin.load_state_dict(ode.state_dict())
    rest = []
    for _ in range(40):
        with torch.no_grad():
            rest.append(twin(state(), torch.tensor([0.0, 0.5], dtype=F64)).solution.stats.nfev)
        twin.func.drift()
    assert rest == whole[40:]
    # into a module without it, and from one
    plain = NeuralODE(Field(), rtol=1e-5, atol=1e-5)
    plain.load_state_dict(ode.state_dict())
    twin.load_state_dict(plain.state_dict())
    assert not twin.step_record.any() and torch.isnan(twin.first_step_size)
    warm = NeuralODE(Field(), warm_start=True)
    warm.load_state_dict(ode.state_dict())
    assert float(warm.first_step_size) == float(ode.first_step_size) and "step_record" not in warm.state_dict()


def test_predictions_are_plain_and_leave_it_alone():
    _, ode = train("smooth and short", 60, steps="auto")
    before = ode.step_record.clone(), ode.first_step_size.clone()
    ode.eval()
    t = torch.tensor([0.0, 0.5], dtype=F64)
    plain = NeuralODE(ode.func, "dopri5", rtol=1e-5, atol=1e-5)(state(), t)
    assert torch.equal(ode(state(), t).y, plain.y)
    assert torch.equal(ode.step_record, before[0]) and torch.equal(ode.first_step_size, before[1])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steps": "auto", "warm_start": True}, 'steps="auto" decides on warm_start and even_steps'),
        ({"steps": "auto", "even_steps": True}, 'steps="auto" decides on warm_start and even_steps'),
        ({"steps": "auto", "per_sample": True}, 'steps="auto" needs per_sample=False'),
        ({"steps": "auto", "first_step": 0.1}, 'steps="auto" chooses the first step'),
        ({"steps": "warm"}, "unknown steps 'warm'"),
    ],
)
def test_what_does_not_fit_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        NeuralODE(Field(), **options)


def test_what_it_knows_stays_exact_where_weights_become_half():
    ode = NeuralODE(Field(), steps="auto")
    ode.step_record.fill_(257.0)
    ode.first_step_size.fill_(0.1)
    half = copy.deepcopy(ode).to(torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16
    assert torch.equal(half.step_record, ode.step_record) and torch.equal(half.first_step_size, ode.first_step_size)
    assert half.step_record.dtype == half.first_step_size.dtype == F64
    assert set(half.state_dict()) == set(ode.state_dict())
    assert copy.deepcopy(ode).to("meta").step_record.is_meta
