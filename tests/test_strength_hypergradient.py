"""Hypergradients against closed forms and finite differences of solutions that have converged, and where they lead."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

import stepsmith as ss
from spirals import Spirals
from stepsmith.controllers.laws import registry
from stepsmith.controllers.strengths.hypergradient import product

strength = ss.neural.strength
F64 = torch.float64


class Quadratic:
    """Training loss w'A w / 2 - b'w, penalty |w|^2 / 2 and validation loss |w - c|^2 / 2, whose weights are known:
    w(lambda) = (A + lambda)^-1 b."""

    def __init__(self, eigenvalues):
        rng = np.random.default_rng(0)
        n = len(eigenvalues)
        axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
        self.A, self.b, self.c = axes * eigenvalues @ axes.T, rng.normal(size=n), rng.normal(size=n)

    def solved(self, lam):
        return np.linalg.solve(self.A + lam * np.eye(len(self.b)), self.b)

    def validation(self, log_lam):
        return 0.5 * np.sum((self.solved(math.exp(log_lam)) - self.c) ** 2)

    def slope(self, lam, eps=1e-5):
        """d validation / d log lambda of the converged solution, by central differences."""
        l = math.log(lam)
        return (self.validation(l + eps) - self.validation(l - eps)) / (2 * eps)

    def losses(self, w):
        A, b, c = map(torch.from_numpy, (self.A, self.b, self.c))
        return (w - c).square().sum() / 2, w @ A @ w / 2 - b @ w, w.square().sum() / 2

    def found(self, rule, w=None):
        w = torch.tensor(self.solved(rule.value) if w is None else w, dtype=F64, requires_grad=True)
        validation, training, penalty = self.losses(w)
        (gradient,) = rule.gradients(validation, training, penalty, [w])
        return gradient


def test_one_term_against_its_formula():
    task, lam, alpha = Quadratic([0.5, 1.0, 2.0]), 0.3, 0.2
    w = np.array([0.3, -1.0, 0.7])  # anywhere
    v = w - task.c
    p = alpha * (v + (v - alpha * (task.A + lam * np.eye(3)) @ v))
    assert task.found(strength.hypergradient(lam, alpha=alpha), w) == pytest.approx(-lam * p @ w, rel=1e-12)


def test_one_term_is_exact_to_first_order_about_a_hessian_like_the_identity():
    # H = (1 + d) / alpha: the series leaves the share d^2
    lam = 0.5
    task = Quadratic([1.0, 1.0, 1.0, 1.0])
    for d in (0.0, 0.1, -0.1, 0.3):
        alpha = (1.0 + d) / (1.0 + lam)
        found = task.found(strength.hypergradient(lam, alpha=alpha))
        assert found == pytest.approx(task.slope(lam) * (1.0 - d**2), rel=1e-8)


def test_hessians_near_the_identity():
    lam, spread = 0.5, 0.05
    task = Quadratic([1.0 - spread, 1.0, 1.0 + spread])
    errors = []
    for terms in (0, 1):
        found = task.found(strength.hypergradient(lam, alpha=1.0 / (1.0 + lam), terms=terms))
        errors.append(abs(found / task.slope(lam) - 1.0))
    assert errors[1] < 3e-3 and errors[1] < errors[0] / 3


@pytest.mark.parametrize("lam", [0.01, 0.2, 3.0])
def test_with_many_terms_it_is_the_implicit_derivative(lam):
    task = Quadratic([0.3, 1.0, 2.5])
    rule = strength.hypergradient(lam, alpha=0.3, terms=400)
    assert task.found(rule) == pytest.approx(task.slope(lam), rel=1e-7)


def test_the_strength_goes_to_the_best():
    # A = 1: w = b / (1 + lambda), best where 1 + lambda = b'b / b'c
    task = Quadratic([1.0, 1.0])
    task.c = task.b / 1.6
    w = torch.zeros(2, dtype=F64, requires_grad=True)
    rule = strength.hypergradient(0.05, alpha=0.6, every=2, warm_up=20)
    for _ in range(700):
        validation, training, penalty = task.losses(w)
        total = rule.total(training, penalty)
        if rule.due:
            rule.respond(validation, training, penalty, [w])
        (grad,) = torch.autograd.grad(total, w)
        with torch.no_grad():
            w -= 0.3 * grad
    assert rule.value == pytest.approx(0.6, rel=0.02) and rule.responses == 341
    assert 0.0 < rule.cost < 1.0 and w.grad is None


def test_in_a_ratio_the_factor_counts():
    task, w = Quadratic([1.0, 2.0]), torch.tensor([0.5, -0.2], dtype=F64, requires_grad=True)
    rule = strength.ratio(strength.hypergradient(0.3, warm_up=0), every=1)
    validation, training, penalty = task.losses(w)
    assert not rule.due
    rule.total(training, penalty, [w])
    raw = strength.hypergradient(rule.value, warm_up=0)
    rule.inner.numbers["every"] = 1
    assert rule.due
    rule.respond(validation, training, penalty, [w])
    assert rule.inner.gradient == pytest.approx(raw.gradients(validation, training, penalty, [w])[0], rel=1e-12)


def test_hessian_products_through_the_solver():
    """Against central differences of the gradient of the loss with its penalty, for given sizes of the steps: gradients
    hold these."""
    task = Spirals(controller=registry.get("constant", h=0.25))
    weights = task.parameters
    torch.manual_seed(3)
    v = [torch.randn_like(w) for w in weights]

    def slope(create=False):
        loss, out = task.out("train")
        total = loss + 0.7 * out.penalty
        return torch.autograd.grad(total, weights, create_graph=create), out.solution.stats.naccept

    found = product(slope(True)[0], v, weights)
    eps, sides, steps = 1e-5, [], []
    for sign in (1, -1):
        with torch.no_grad():
            for w, x in zip(weights, v, strict=True):
                w += sign * eps * x
        side, n = slope()
        sides.append(side)
        steps.append(n)
        with torch.no_grad():
            for w, x in zip(weights, v, strict=True):
                w -= sign * eps * x
    assert steps[0] == steps[1]
    wanted = [(a - b) / (2 * eps) for a, b in zip(*sides, strict=True)]
    scale = max(float(x.abs().max()) for x in wanted)
    worst = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
    assert worst < 1e-6 * scale, (worst, scale)


def test_a_loss_that_is_linear_has_no_curvature():
    w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    unused = torch.ones(3, dtype=F64, requires_grad=True)
    rule = strength.hypergradient(0.5, alpha=0.1)
    (found,) = rule.gradients(w.sum(), 3 * w.sum(), 2 * w.sum(), [w, unused])
    assert found == pytest.approx(-0.5 * 0.1 * 2 * (2 + 2))


def test_an_alpha_that_is_too_large_says_so():
    task = Quadratic([4.0, 4.0])
    rule = strength.hypergradient(1.0, alpha=0.5, warm_up=0)
    w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    with pytest.warns(UserWarning, match="alpha=0.5 is too large.*pass an alpha below 0.4") as told:
        rule.respond(*task.losses(w), [w])
    assert told[0].filename == __file__
    assert rule.responses == 0 and rule.value == 1.0 and not rule.off


def test_it_changes_no_weights_and_waits_for_its_warm_up():
    task = Quadratic([1.0, 2.0])
    w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    rule = strength.hypergradient(1.0, warm_up=1)
    rule.respond(*task.losses(w), [w])
    assert rule.responses == 0 and rule.gradient is None
    _, training, penalty = task.losses(w)
    total = rule.total(training, penalty)
    rule.respond(*task.losses(w), [w])
    total.backward()
    assert rule.responses == 1 and w.tolist() == [1.0, 2.0]


def test_what_is_not_finite_is_left_out_and_in_the_end_for_good():
    task, rule = Quadratic([1.0, 2.0]), strength.hypergradient(1.0, warm_up=0)
    w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    validation, training, penalty = task.losses(w)
    with pytest.warns(UserWarning, match="the validation loss is 2.*gradient in the strength nan.*stays as it is"):
        rule.respond(validation * 0 + 2, training * math.nan, penalty, [w])
    assert rule.value == 1.0
    with pytest.warns(UserWarning, match="off from here on: the validation loss is nan.*third time"):
        for _ in range(2):
            rule.respond(validation * math.nan, training, penalty, [w])
    assert rule.off and rule.value == 0.0
    rule.respond(validation, training, penalty, [w])
    assert rule.responses == 0


def test_a_validation_loss_of_another_model_is_refused():
    w, other = (torch.ones(2, dtype=F64, requires_grad=True) for _ in range(2))
    rule = strength.hypergradient(warm_up=0)
    with pytest.raises(ValueError, match="does not depend on these parameters"):
        rule.respond((other**2).sum(), (w**2).sum(), (w**4).sum(), [w])
    assert rule.responses == 0 and rule.gradient is None


@pytest.mark.parametrize("size", [1e180, 1e200, 1e300])
def test_a_gradient_that_overflows_is_left_out(size):
    w = torch.ones(3, dtype=F64, requires_grad=True)
    rule = strength.hypergradient(1.0, alpha=0.01, warm_up=0)
    with pytest.warns(UserWarning, match="the strength stays as it is"):
        rule.respond(size * (w**2).sum(), (w**2).sum(), (w**4).sum(), [w])
    assert rule.value == 1.0 and rule.responses == 0


@pytest.mark.parametrize("inside", [False, True])
def test_states_pickles_copies_and_descriptions(inside):
    task = Quadratic([1.0, 2.0])

    def go(rule, n):
        w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
        used = []
        for _ in range(n):
            validation, training, penalty = task.losses(w)
            rule.total(training, penalty, [w])
            used.append(rule.last)
            if rule.due:
                rule.respond(validation, training, penalty, [w])
        return used

    given = strength.hypergradient(0.4, alpha=0.2, terms=2, every=3, warm_up=2)
    given = strength.ratio(given, every=2) if inside else given
    whole = strength.make(**json.loads(json.dumps(given.describe())))
    assert whole.describe() == given.describe()
    go(whole, 11)
    again = strength.make(**given.describe())
    again.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    wanted = go(copy.deepcopy(whole), 20)
    for twin in (again, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert go(twin, 20) == wanted
    assert len(set(wanted)) > 5
    with pytest.raises(ValueError, match="no state of a strength of kind"):
        again.load_state_dict({"iteration": 3})


X = torch.ones((), dtype=F64, requires_grad=True)


def made(**options):
    return strength.hypergradient(warm_up=0, **options)


def freed():
    y = X**3
    y.backward()
    return y


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: strength.hypergradient(20.0), "between low and high"),
        (lambda: strength.hypergradient(alpha=0.0), "alpha must be"),
        (lambda: strength.hypergradient(terms=-1), "terms must be"),
        (lambda: strength.hypergradient(rate=math.nan), "rate must be"),
        (lambda: strength.hypergradient(every=0), "every must be"),
        (lambda: made().respond(X**2), "needs training_loss"),
        (lambda: made().respond(X**2, X**2), "needs penalty"),
        (lambda: made().respond(X**2, X**2, X**2), "needs parameters"),
        (lambda: made().respond(X**2, X**2, X**2, []), "none of the parameters requires"),
        (lambda: made().respond(X**2, 3.0, X**2, [X]), "the training loss must be a 0-d tensor"),
        (lambda: made().respond(X**2, X.detach(), X**2, [X]), "the training loss has no gradient"),
        (lambda: made().respond(X**2, X**2, X.detach(), [X]), "the penalty has no gradient"),
        (lambda: made().respond(X.detach(), X**2, X**2, [X]), "the validation loss has no gradient"),
        (lambda: made().respond(X**2, freed(), X**2, [X]), r"call respond\(\) before backward"),
    ],
)
def test_what_does_not_fit(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("adjoint", ["backsolve", "interpolating"])
def test_an_adjoint_without_second_derivatives_is_refused(adjoint):
    task = Spirals(regulariser="kinetic", adjoint=adjoint)
    loss, out = task.out("train")
    with pytest.raises(ValueError, match='no second derivatives.*solve with adjoint="discrete"'):
        made().respond(loss * 2, loss, out.penalty, task.parameters)


def test_a_run_on_two_spirals():
    task = Spirals()
    rule = strength.ratio(strength.hypergradient(every=5, warm_up=5, alpha=0.05), every=8)
    losses = []
    for _ in range(25):
        loss, out = task.out("train")
        total = rule.total(loss, out.penalty, task.parameters)
        if rule.due:
            rule.respond(task.out("validation")[0], loss, out.penalty, task.parameters)
        task.step(total)
        losses.append(loss.item())
    assert losses[-1] < losses[0] and not rule.off and rule.inner.responses == 5
    assert rule.inner.log_level != math.log(0.1) and math.isfinite(rule.inner.gradient)
