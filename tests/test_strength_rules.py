"""Strengths that listen: ratio of gradients and dual ascent, their losses, states, and falls back to none."""

import copy
import json
import math
import pickle
import sys
import warnings

import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.neural import strength

F64 = torch.float64
ratio_module = sys.modules["stepsmith.integrators.neural.strength.ratio"]  # the package's `ratio` is the function
TASK, AIM = torch.tensor([1.0, -2.0, 0.5], dtype=F64), torch.tensor([0.0, 1.0, 0.5], dtype=F64)


def descend(rule, iterations=200, unit=1.0, rate=0.05):
    """Gradient descent on |x - TASK|^2 / 2 with the penalty unit * |x - AIM|^4 / 4; x and the strengths that it had."""
    x = torch.zeros(3, dtype=F64, requires_grad=True)
    used = []
    for _ in range(iterations):
        loss, penalty = ((x - TASK) ** 2).sum() / 2, unit * ((x - AIM) ** 2).sum() ** 2 / 4
        total = rule.total(loss, penalty, [x])
        used.append(float((total - loss).detach() / penalty.detach()))
        (grad,) = torch.autograd.grad(total, x)
        with torch.no_grad():
            x -= rate * grad
    return x.detach(), used


def test_a_schedule_adds_its_strength_and_counts():
    s = strength.linear(2.0, 0.0, 4)
    _, used = descend(s, 6)
    assert used == pytest.approx([2.0, 1.5, 1.0, 0.5, 0.0, 0.0], abs=1e-12) and s.iteration == 6


def test_the_ratio_is_that_of_the_gradients():
    x = torch.tensor([0.3, 0.1, -0.4], dtype=F64, requires_grad=True)
    loss, penalty = ((x - TASK) ** 2).sum() / 2, 7.0 * ((x - AIM) ** 2).sum() ** 2 / 4
    total = strength.ratio(0.3).total(loss, penalty, [x])
    of_task, of_both = (torch.autograd.grad(y, x, retain_graph=True)[0] for y in (loss, total))
    assert float((of_both - of_task).norm() / of_task.norm()) == pytest.approx(0.3, rel=1e-12)


def test_a_ratio_does_not_see_the_penaltys_units():
    (near, raw), (far, scaled) = (descend(strength.ratio(0.5, every=1), unit=unit) for unit in (1.0, 1e9))
    assert torch.allclose(near, far, rtol=1e-9) and scaled == pytest.approx([v / 1e9 for v in raw], rel=1e-9)


def test_below_one_the_task_alone_decides_where_it_ends():
    below, _ = descend(strength.ratio(0.5, every=1), 2000)
    assert float((below - TASK).norm()) < 1e-6
    raw, _ = descend(strength.constant(0.5), 2000)
    assert float((raw - TASK).norm()) > 0.1


def test_the_tightest_group_decides_and_those_without_penalty_have_no_say():
    a, b, head = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (1.0, 2.0, 3.0))
    loss, penalty = 3.0 * a + 8.0 * b + 100.0 * head, 2.0 * a + 2.0 * b
    for groups in ([[a], [b], [head]], [{"params": [a]}, {"params": [b]}, {"params": [head]}]):
        rule = strength.ratio(1.0)
        rule.total(loss, penalty, groups)
        assert rule.scale == pytest.approx(1.5)
    rule = strength.ratio(1.0)
    rule.total(loss, penalty, torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 1.0}], lr=0.1))
    assert rule.scale == pytest.approx(1.5)
    rule = strength.ratio(1.0)
    rule.total(loss, penalty, [a, b])
    assert rule.scale == pytest.approx(math.hypot(3.0, 8.0) / math.hypot(2.0, 2.0))


def test_measurements_are_few():
    rule = strength.ratio(0.3)
    descend(rule, 200)
    assert rule.measured == len({0, 4, 16, *range(32, 200, 32)}) and 0.0 < rule.cost < 1.0
    assert math.isnan(strength.ratio(0.3).cost)


def test_a_ratio_over_time():
    rule = strength.ratio(strength.exponential(2.0, 0.5, 10), every=1)
    assert rule.last_ratio == 0.0
    descend(rule, 10)
    assert rule.value == pytest.approx(0.5 * rule.scale)
    assert rule.last_ratio == pytest.approx(2.0 * 0.25**0.9) and math.isnan(strength.constant(0.3).last_ratio)


def toy(lam):
    """The quality that a strength ends in, in a task whose quality worsens by 1 % for each tenth of strength."""
    return 1.0 + 0.1 * lam


def test_dual_ascent_finds_the_strength_that_spends_the_budget():
    rule = strength.dual_ascent(0.01, budget=0.02, watch="validation", reference=1.0, rate=0.1)
    for _ in range(300):
        rule.report(toy(rule.value))
    assert rule.value == pytest.approx(0.2, rel=0.05)


def test_dual_ascent_on_scores():
    rule = strength.dual_ascent(0.01, budget=0.01, watch="validation", higher_is_better=True, reference=0.9, rate=0.1)
    for _ in range(300):
        rule.report(0.9 - 0.1 * rule.value)
    assert rule.value == pytest.approx(0.1, rel=0.05)


def test_dual_ascent_on_the_training_loss_stays_within_its_budget():
    rule = strength.ratio(strength.dual_ascent(0.1, budget=0.05, every=5), every=1)
    x, used = descend(rule, 1000)
    assert used[-1] > 0 and float(((x - TASK) ** 2).sum() / 2) < 0.2


def test_no_headroom_switches_off_and_says_so():
    rule = strength.dual_ascent(0.1, watch="validation", reference=1.0, rate=1.0, floor_patience=3)
    with pytest.warns(UserWarning, match="no headroom"):
        for _ in range(20):
            rule.report(5.0)
    x = torch.ones((), dtype=F64, requires_grad=True)
    assert rule.value == 0.0 and "headroom" in rule.off and rule.total(x, 3 * x) is x


@pytest.mark.parametrize("make", [lambda: strength.constant(1.0), lambda: strength.ratio(1.0)])
@pytest.mark.filterwarnings("ignore:the penalty is nan at iteration 2")
def test_what_is_not_finite_is_left_out_and_in_the_end_for_good(make):
    x = torch.ones((), dtype=F64, requires_grad=True)
    rule, bad = make(), x * math.nan
    with pytest.warns(UserWarning, match="the penalty is nan at iteration 0, whose loss goes without it") as told:
        assert rule.total(x, bad, [x]) is x
    assert told[0].filename == __file__
    assert rule.total(2 * x, 3 * x, [x]).item() > 2.0 and not rule.off
    with pytest.warns(UserWarning, match="off from here on: the penalty is nan at iteration 4, the third time"):
        for _ in range(3):
            rule.total(x, bad, [x])
    assert rule.value == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rule.total(x, 3 * x, [x]) is x


def test_a_task_loss_that_is_nan_switches_off():
    x = torch.ones((), dtype=F64, requires_grad=True)
    rule = strength.constant(1.0)
    with pytest.warns(UserWarning, match="the task loss is nan at iteration 0"):
        rule.total(x * math.nan, x, [x])
    assert rule.off


def test_a_gradient_that_is_zero_or_infinite_does_not_enter_the_scale():
    x = torch.zeros((), dtype=F64, requires_grad=True)
    rule = strength.ratio(strength.linear(1.0, 0.0, 10), every=1)
    with pytest.warns(UserWarning, match="no group of the parameters has a gradient of the task loss and one"):
        assert rule.total(x + 1, x**2, [x]).item() == 1.0
    assert rule.measured == 0
    rule.total(x + 1, 4 * x, [x])
    assert rule.scale == 0.25
    with pytest.warns(UserWarning, match="the gradient of the penalty is not finite at iteration 2, whose loss goes"):
        assert rule.total(x + 1, torch.sqrt(x), [x]).requires_grad
    assert rule.scale == 0.25 and rule.iteration == rule.inner.iteration == 3


def test_a_penalty_whose_gradient_is_not_finite_is_left_out_and_in_the_end_for_good():
    x = torch.zeros(3, dtype=F64, requires_grad=True)
    rule, told = strength.ratio(0.3), []
    for _ in range(4):
        loss = ((x - TASK) ** 2).sum()
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            total = rule.total(loss, (x**2).sum().sqrt(), [x])
        told += [str(w.message) for w in found]
        (gradient,) = torch.autograd.grad(total, x)
        assert gradient.tolist() == (-2 * TASK).tolist() and rule.last == 0.0
    assert len(told) == 2 and "whose loss goes without it" in told[0]
    assert "the gradient of the penalty is not finite at iteration 2, the third time in a row" in told[1] and rule.off


def test_a_group_that_the_task_does_not_reach_has_no_say():
    w, v = (torch.ones(n, dtype=F64, requires_grad=True) for n in (3, 1))
    rule = strength.ratio(1.0)
    rule.total((w**2).sum() + 0 * v.sum(), (w**4).sum() + (v**2).sum(), [[w], [v]])
    assert rule.scale == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:no group of the parameters")
def test_a_measurement_that_fails_is_made_again_ever_later(monkeypatch):
    x = torch.ones((), dtype=F64, requires_grad=True)
    rule, made = strength.ratio(0.3, every=8), []
    real = ratio_module.gradients
    monkeypatch.setattr(ratio_module, "gradients", lambda *a: (made.append(rule.iteration), real(*a))[1])
    for _ in range(40):
        rule.total(x**2, 0 * x + 1, [x])
    assert sorted(set(made)) == [0, 1, 3, 4, 8, 16, 24, 32] and not rule.off and rule.measured == 0
    for _ in range(9):
        rule.total(x**2, x, [x])
    assert rule.scale == pytest.approx(2.0)


@pytest.mark.filterwarnings("ignore:the penalty is nan")
def test_an_iteration_that_is_lost_counts_for_the_ratios_own_rule():
    x = torch.ones((), dtype=F64, requires_grad=True)
    rule = strength.ratio(strength.exponential(10.0, 1.0, 5))
    for k in range(4):
        rule.total(x**2, x * (math.nan if k == 1 else 1.0), [x])
    assert rule.iteration == rule.inner.iteration == 4


def test_a_state_of_another_kind_or_a_damaged_one_is_refused_and_changes_nothing():
    rule = strength.exponential(10.0, 1.0, 5)
    with pytest.raises(ValueError, match="of kind 'exponential', but of kind 'constant'"):
        rule.load_state_dict(strength.constant(1.0).state_dict())
    rule = strength.ratio(strength.dual_ascent())
    before = rule.state_dict()
    for damage in (
        {"inner_state": strength.constant(0.3).state_dict()},
        {"inner_state": {**rule.inner.state_dict(), "best": "much"}},
        {"scale": None},
        {"off": 0},
        {"last": True},
    ):
        with pytest.raises(ValueError, match="no state of a strength|is damaged"):
            rule.load_state_dict({**before, "iteration": 77, **damage})
        assert repr(rule.state_dict()) == repr(before)


def test_without_gradient_nothing_is_counted():
    rule, x = strength.constant(1.0), torch.ones((), dtype=F64, requires_grad=True)
    with torch.no_grad():
        assert rule.total(x, x * 2).item() == 1.0
    assert rule.total(x, x.new_zeros(())).item() == 1.0 and rule.iteration == 0
    with pytest.raises(ValueError, match="the penalty has no gradient"):
        rule.total(x, x.detach() * 2)


RULES = [
    strength.ratio(0.3), strength.ratio(strength.exponential(3.0, 0.3, 50), every=7), strength.dual_ascent(),
    strength.ratio(strength.dual_ascent(0.2, 0.05, every=3, reference=0.1)), strength.constant(0.1),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.kind)
def test_states_pickles_copies_and_descriptions(rule):
    whole = strength.make(**json.loads(json.dumps(rule.describe())))
    assert whole.describe() == rule.describe()
    first, _ = descend(whole, 20)
    state = json.loads(json.dumps(whole.state_dict()))
    again = strength.make(**rule.describe())
    again.load_state_dict(state)
    for twin in (again, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert descend(twin, 30)[1] == descend(copy.deepcopy(whole), 30)[1]
    with pytest.raises(ValueError, match="no state of a strength of kind"):
        again.load_state_dict({"iteration": 3})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: strength.ratio(-1.0), "ratio must be a positive"),
        (lambda x: strength.ratio("0.3"), "ratio must be a positive"),
        (lambda x: strength.ratio(0.3, every=0), "every must be"),
        (lambda x: strength.ratio(strength.ratio(0.3)), "ratio of a ratio"),
        (lambda x: strength.ratio(0.3).total(x, x), "pass the parameters"),
        (lambda x: strength.ratio(0.3).total(x, x, 3), "parameters must be"),
        (lambda x: strength.ratio(0.3).total(x, x, []), "none of the parameters requires"),
        (lambda x: strength.ratio(0.3).total(x, x, [x.detach()]), "none of the parameters requires"),
        (lambda x: strength.constant(1.0).total(x.expand(2), x), "the loss must be a 0-d tensor"),
        (lambda x: strength.constant(1.0).total(x, 3.0), "the penalty must be a 0-d tensor"),
        (lambda x: strength.constant(1.0).total(x, x, nfev=-1), "nfev must be"),
        (lambda x: strength.dual_ascent(watch="test"), "unknown watch 'test'"),
        (lambda x: strength.dual_ascent(higher_is_better=True), "higher_is_better is about"),
        (lambda x: strength.dual_ascent(start=100.0), "between low and high"),
        (lambda x: strength.dual_ascent(budget=0.0), "budget must be"),
        (lambda x: strength.dual_ascent().report(math.nan), "metric must be"),
        (lambda x: strength.make("ratio"), "needs one of value"),
        (lambda x: strength.make("ratio", of={"value": 3}), "a table with a kind"),
        (lambda x: strength.make("ratioo"), "did you mean 'ratio'"),
        (lambda x: strength.make("dual_ascent", budgt=1), "no option 'budgt'"),
    ],
)
def test_what_does_not_fit(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones((), dtype=F64, requires_grad=True))


def test_it_is_part_of_the_public_face():
    assert ss.neural.strength.ratio is strength.ratio
