"""A layer's best response to the strength, and the strength that it leads to."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

import stepsmith as ss
from spirals import Spirals
from stepsmith.controllers.strengths import adam

strength = ss.neural.strength
F64 = torch.float64


class Shrunk:
    """Training loss (w - a)^2 / 2 with penalty w^2 / 2, w the output of a responsive layer at x = 1.

    The best response is w*(lambda) = a / (1 + lambda), and a validation loss (w - b)^2 / 2 wants lambda = a / b - 1.
    """

    a, b = 2.0, 1.5

    def __init__(self, rate=0.05, **options):
        torch.manual_seed(0)
        self.layer = strength.Responsive(torch.nn.Linear(1, 1)).double()
        self.rule = strength.best_response(self.layer, **options)
        self.optimiser = torch.optim.SGD(self.layer.parameters(), lr=rate)

    def at(self):
        return self.layer(torch.ones(1, dtype=F64)).squeeze()

    def train(self):
        w = self.at()
        total = self.rule.total((w - self.a) ** 2 / 2, w**2 / 2)
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()
        return self.rule.last

    def run(self, iterations, perturbed=True):
        used = []
        for _ in range(iterations):
            used.append(self.train())
            if self.rule.due:
                self.layer.train(perturbed)
                self.rule.respond((self.at() - self.b) ** 2 / 2)
                self.layer.train()
        return used


def test_adam_is_torchs():
    x = torch.tensor(1.5, dtype=F64, requires_grad=True)
    theirs, mine, moments = torch.optim.Adam([x], lr=0.03), 1.5, [0.0, 0.0, 0.0]
    for k in range(30):
        x.grad = torch.tensor(math.cos(0.7 * k) * 10 ** (k % 3), dtype=F64)
        moments, change = adam.step(moments, x.grad.item(), 0.03)
        theirs.step()
        mine += change
        assert mine == pytest.approx(x.item(), rel=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_the_layer_against_its_formula(bias, dtype):
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 2, bias=bias).to(dtype)
    layer = strength.Responsive(linear)
    x = torch.randn(5, 3, dtype=dtype)
    assert torch.equal(layer(x), linear(x)) and layer(x).dtype == dtype
    rule = strength.best_response(layer, 0.3, seed=1)
    with torch.no_grad():
        layer.row_scale.copy_(torch.tensor([0.5, -2.0]))
        if bias:
            layer.bias.copy_(torch.tensor([1.0, -1.0]))

    def formula(l):
        weight = linear.weight + l * layer.row_scale[:, None] * layer.weight
        shift = (linear.bias + l * layer.row_scale * layer.bias) if bias else 0.0
        return x @ weight.T + shift

    tol = 1e-12 if dtype == F64 else 1e-5
    assert torch.allclose(layer(x), formula(math.log(rule.value)), atol=tol)
    assert abs(math.log(rule.value / 0.3)) > 1e-3
    assert torch.allclose(layer.eval()(x), formula(math.log(0.3)), atol=tol)


def test_a_perturbation_lasts_an_iteration():
    task = Shrunk(seed=5, spread=0.5)
    used = task.run(100)
    assert len(set(used)) == 100
    fixed = Shrunk(seed=5, spread=0.5, warm_up=10**6)
    logs = torch.tensor(fixed.run(1500)).log() - math.log(0.1)
    assert float(logs.mean()) == pytest.approx(0.0, abs=0.05) and float(logs.std()) == pytest.approx(0.5, rel=0.06)
    before = fixed.at().item()
    assert fixed.at().item() == before


def test_the_layer_learns_the_best_response():
    task = Shrunk(0.1, start=1.0, spread=0.3, warm_up=10**6)
    task.run(2000)
    task.layer.eval()
    w = task.at()
    (slope,) = torch.autograd.grad(w, task.layer.probes[0])
    # a / (1 + exp(l)) and its derivative at l = 0
    assert w.item() == pytest.approx(1.0, abs=0.03) and slope.item() == pytest.approx(-0.5, rel=0.1)


@pytest.mark.parametrize("perturbed", [True, False])
def test_the_strength_goes_to_the_best(perturbed):
    task = Shrunk(0.1, start=1.0, spread=0.2, warm_up=200)
    task.rule.numbers["rate"] = 0.02
    task.run(2500, perturbed)
    assert math.exp(task.rule.log_level) == pytest.approx(task.a / task.b - 1, rel=0.1)
    assert (task.rule.spread == pytest.approx(0.2, rel=1e-12)) is not perturbed
    assert float(task.layer.log_strength) == pytest.approx(task.rule.log_level)


@pytest.mark.parametrize("perturbed", [True, False])
def test_its_gradients_are_those_of_finite_differences(perturbed):
    task = Shrunk(start=1.0, spread=0.2, warm_up=0, seed=2)
    with torch.no_grad():
        task.layer.row_scale.fill_(0.7)
    task.layer.train(perturbed)

    def loss(l, s):
        task.layer.set(l, s, task.rule.draw)
        return (task.at() - task.b) ** 2 / 2

    found = task.rule.gradients(loss(0.1, 0.2), None, None, None)
    eps = 1e-6
    wanted = [(loss(0.1 + eps, 0.2) - loss(0.1 - eps, 0.2)).item() / (2 * eps)]
    if perturbed:
        wanted.append((loss(0.1, 0.2 + eps) - loss(0.1, 0.2 - eps)).item() / (2 * eps))
    assert found == pytest.approx(tuple(wanted), rel=1e-6) and len(found) == len(wanted)


def test_entropy_keeps_the_spread_up():
    spreads = []
    for tau in (0.0, 1.0):
        task = Shrunk(start=1.0, spread=0.5, warm_up=50, entropy=tau)
        task.run(400)
        spreads.append(task.rule.spread)
    assert spreads[0] < 0.5 < spreads[1]


def test_weights_stay_and_warm_up_and_due():
    task = Shrunk(start=1.0, warm_up=4, every=2)
    task.train()
    before = [p.detach().clone() for p in task.layer.parameters()]
    grads = [p.grad.clone() for p in task.layer.parameters()]
    due = []
    task.rule.respond((task.at() - task.b) ** 2)
    assert task.rule.responses == 0 and task.rule.log_level == 0.0
    for _ in range(9):
        due.append(task.rule.due)
        if due[-1]:
            task.rule.respond((task.at() - task.b) ** 2)
            assert not task.rule.due
        task.rule.total(*(torch.ones((), dtype=F64, requires_grad=True),) * 2)
    assert due == [False, False, False, True, False, True, False, True, False] and task.rule.responses == 3
    assert all(torch.equal(p, q) for p, q in zip(task.layer.parameters(), before, strict=True))
    assert all(torch.equal(p.grad, q) for p, q in zip(task.layer.parameters(), grads, strict=True))


def test_strengths_stay_between_low_and_high():
    task = Shrunk(start=1.0, low=0.9, high=1.1, spread=2.0, warm_up=0)
    used = task.run(300)
    assert min(used) == pytest.approx(0.9) and max(used) == pytest.approx(1.1)


@pytest.mark.parametrize("inside", [False, True])
def test_states_pickles_and_copies(inside):
    def made(of=None):
        task = Shrunk(seed=1, spread=0.4, warm_up=3)
        if inside:
            task.rule = strength.ratio(task.rule, every=1) if of is None else strength.make(**of)
        return task

    def go(task, n):
        used = []
        for _ in range(n):
            w = task.at()
            total = task.rule.total((w - task.a) ** 2 / 2, w**2 / 2, task.layer)
            task.optimiser.zero_grad()
            total.backward()
            task.optimiser.step()
            used.append((w.item(), task.rule.last))
            if task.rule.due:
                task.rule.respond((task.at() - task.b) ** 2 / 2)
        return used

    whole = made()
    go(whole, 20)
    again = made()
    again.layer.load_state_dict(whole.layer.state_dict())
    again.rule.load_state_dict(json.loads(json.dumps(whole.rule.state_dict())))
    wanted = go(copy.deepcopy(whole), 20)
    for twin in (again, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert go(twin, 20) == wanted
    assert len({level for _, level in wanted}) == 20


def test_descriptions_and_a_model_that_was_saved():
    task = Shrunk(start=0.5, spread=0.4, warm_up=3, seed=9)
    task.run(50)
    given = json.loads(json.dumps(task.rule.describe()))
    again = strength.make(**given, layer=strength.Responsive(torch.nn.Linear(1, 1)))
    assert again.describe() == given and again.log_level == math.log(0.5)
    with pytest.raises(ValueError, match="strength 'best_response' needs layer"):
        strength.make(**given)
    loaded = strength.Responsive(torch.nn.Linear(1, 1)).double()
    loaded.load_state_dict(task.layer.state_dict())
    x = torch.ones(1, dtype=F64)
    assert torch.equal(loaded.eval()(x), task.layer.eval()(x)) and float(loaded.log_strength) != math.log(0.5)


@pytest.mark.filterwarnings("ignore:the validation loss is inf")
def test_what_is_not_finite_is_left_out_and_in_the_end_for_good():
    task = Shrunk(warm_up=0)
    task.run(3)
    level = task.rule.log_level
    with pytest.warns(UserWarning, match="the validation loss is nan.*stays as it is") as told:
        task.rule.respond(task.at() * math.nan)
    assert told[0].filename == __file__ and task.rule.log_level == level
    task.rule.respond(task.at())
    assert task.rule.log_level != level
    with pytest.warns(UserWarning, match="off from here on: the validation loss is inf.*third time in a row"):
        for _ in range(3):
            task.rule.respond(task.at() * math.inf)
    assert task.rule.off and task.rule.value == 0.0 and not task.rule.due
    task.rule.respond(task.at())


LAYER = strength.Responsive(torch.nn.Linear(1, 1))
X = torch.ones((), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.Responsive(torch.nn.Tanh()), "linear must be a torch.nn.Linear"),
        (lambda s: s.best_response(torch.nn.Linear(1, 1)), "a Responsive layer"),
        (lambda s: s.best_response(LAYER, 20.0), "between low and high"),
        (lambda s: s.best_response(LAYER, spread=0.0), "spread must be"),
        (lambda s: s.best_response(LAYER, entropy=-1.0), "entropy must be"),
        (lambda s: s.best_response(LAYER, rate=0.0), "rate must be"),
        (lambda s: s.best_response(LAYER, every=0), "every must be"),
        (lambda s: s.best_response(LAYER, warm_up=-1), "warm_up must be"),
        (lambda s: s.best_response(LAYER, seed=0.5), "seed must be"),
        (lambda s: s.best_response(LAYER).respond(1.0), "the validation loss must be a 0-d tensor"),
        (lambda s: s.best_response(LAYER).respond(X.expand(2)), "the validation loss must be a 0-d tensor"),
        (lambda s: s.best_response(LAYER).respond(X.detach()), "the validation loss has no gradient"),
        (lambda s: s.best_response(LAYER, warm_up=0).respond(X * 2), "does not come from the responsive layer"),
        (lambda s: s.ratio(s.best_response(LAYER)).respond(X * 2), "no gradients have been measured yet"),
        (lambda s: s.constant(1.0).respond(X), "does not respond to a validation loss"),
        (lambda s: s.ratio(1.0).respond(X), "does not respond to a validation loss"),
        (lambda s: s.best_response(LAYER).load_state_dict({"iteration": 3}), "no state of a strength"),
    ],
)
def test_what_does_not_fit(call, words):
    with pytest.raises(ValueError, match=words):
        call(strength)


def test_a_run_on_two_spirals():
    torch.manual_seed(1)
    layer = strength.Responsive(torch.nn.Linear(2, 2)).double()
    task = Spirals(layer)
    rule = strength.ratio(strength.best_response(layer, warm_up=6, rate=0.05), every=8)
    losses = []
    for _ in range(30):
        loss, out = task.out("train")
        task.step(rule.total(loss, out.penalty, task.parameters))
        losses.append(loss.item())
        if rule.due:
            rule.respond(task.out("validation")[0])
    assert losses[-1] < losses[0] and not rule.off and rule.inner.responses == 13
    assert rule.inner.log_level != math.log(0.1) and float(layer.row_scale.detach().abs().max()) > 1e-3


def test_its_perturbations_are_not_the_numbers_of_a_users_generator_with_the_same_seed():
    rule = strength.best_response(strength.Responsive(torch.nn.Linear(2, 2)), 0.1, seed=5)
    assert rule.draw != pytest.approx(np.random.default_rng(5).standard_normal())
    state = rule.state_dict()
    with pytest.raises(ValueError, match="generator of a best response is damaged"):
        rule.load_state_dict({**state, "iteration": 9, "generator_state": {"bit_generator": "PCG64"}})
    assert rule.state_dict() == state
