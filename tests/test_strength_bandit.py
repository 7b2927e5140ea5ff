"""The strength that a bandit picks: its cost, the arm it finds, its state, what it refuses, a run on two spirals."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

import stepsmith as ss
from spirals import Spirals
from stepsmith.controllers.strengths.bandit import cost

strength = ss.neural.strength
F64 = torch.float64
NOTHING = torch.zeros((), dtype=F64, requires_grad=True)


def play(rule, windows, nfev, loss, context=None):
    """Windows of iterations of f-evaluations nfev(lambda, context) and loss(lambda); the strengths of the windows."""
    used = []
    for k in range(windows):
        x = None if context is None else context(k)
        lam = rule.value
        for _ in range(rule.numbers["every"]):
            assert rule.value == lam
            rule.total(NOTHING + loss(lam), NOTHING + 1.0, nfev=nfev(lam, x), context=x)
        used.append(lam)
    return used


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ((100, 100, 1.0, 1.0), 1.0),
        ((50, 100, 1.02, 1.0), 0.5),  # within the budget
        ((50, 100, 1.03, 1.0), 1.0),  # out by half a budget
        ((50, 100, 1.04, 1.0), 1.5),  # out by a whole one
        ((50, 100, 7.0, 1.0), 1.5),
        ((50, 100, -1.03, -1.0), 0.5),  # better
        ((50, 100, -0.97, -1.0), 1.0),
        ((500, 100, 1.0, 1.0), 2.0),
        ((500, 100, 7.0, 1.0), 3.0),
        ((0, 100, 1.0, 1.0), 0.0),
        ((0, 0, 0.0, 0.0), 0.0),
    ],
)
def test_what_a_window_costs(numbers, wanted):
    assert cost(*numbers, 0.02) == pytest.approx(wanted / 3.0)


def test_no_saving_pays_for_a_loss_that_is_out_by_a_budget():
    for nfev in (0.0, 10.0, 99.0):
        assert cost(nfev, 100.0, 1.04, 1.0, 0.02) >= cost(100.0, 100.0, 1.0, 1.0, 0.02)


def test_the_first_window_goes_without_a_penalty():
    rule = strength.bandit((1.0, 3.0), every=3)
    used = play(rule, 2, lambda lam, x: 100.0, lambda lam: 1.0)
    assert used[0] == 0.0 and used[1] in (1.0, 3.0) and sum(rule.plays) == 1 and rule.told == pytest.approx(1 / 3)


def saving(lam, x=None):
    return 100.0 / (1.0 + lam)


def worsening(lam):
    return 1.0 + 0.1 * lam**2  # .3 stays within 2 %, 1 and 3 do not


def test_it_finds_the_arm_that_costs_least_within_the_budget():
    rule = strength.bandit(every=2, seed=1)
    used = play(rule, 1500, saving, worsening)
    assert np.mean(np.array(used[-500:]) == 0.3) > 0.8 and int(np.argmax(rule.plays)) == 2
    # with a budget that all are in, the strongest arm wins
    wide = strength.bandit(every=2, seed=1, budget=1.0)
    assert np.mean(np.array(play(wide, 1500, saving, worsening)[-500:]) == 3.0) > 0.8


def test_with_a_context_another_arm_wins_elsewhere():
    rule = strength.bandit((0.0, 1.0), bandit="chebyshev", every=1, context_range=(0.0, 10.0))

    def nfev(lam, x):
        return 100.0 + 40.0 * lam * (1 if x < 5 else -1)

    stiff = np.arange(1000) // 25 % 2 == 1
    used = np.array(play(rule, 1000, nfev, lambda lam: 1.0, lambda k: 9.0 * stiff[k]))
    # a window's arm is drawn at the context in which the one before ended
    late = (np.arange(1000) >= 500) & (np.arange(1000) % 25 > 0)
    assert np.mean(used[late & stiff] == 1.0) > 0.8 and np.mean(used[late & ~stiff] == 0.0) > 0.8


@pytest.mark.parametrize("kind", ["tsallis", "chebyshev"])
@pytest.mark.parametrize("inside", [False, True])
def test_states_pickles_copies_and_descriptions(kind, inside):
    known = {"context_range": (0.0, 3.0)} if kind == "chebyshev" else {}
    made = strength.bandit((0.0, 0.5, 2.0), kind, every=2, seed=3, **known)
    if inside:
        made = strength.ratio(made, every=1)

    def go(rule, n):
        x = torch.tensor(0.5, dtype=F64, requires_grad=True)
        levels = []
        for k in range(n):
            rule.total((x - 1) ** 2, x**2, [x], nfev=20 + k % 3, context=k % 4)
            levels.append(rule.last)
        return levels

    whole = strength.make(**json.loads(json.dumps(made.describe())))
    assert whole.describe() == made.describe()
    assert len(set(go(whole, 21))) > 1
    again = strength.make(**made.describe())
    again.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    wanted = go(copy.deepcopy(whole), 30)
    for twin in (again, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert go(twin, 30) == wanted
    inner = again.inner if inside else again
    before = inner.state_dict()
    other = strength.bandit((0.0, 1.0), every=2)
    with pytest.raises(ValueError, match="state must be of bandit"):
        other.load_state_dict(before)
    assert other.iteration == 0 and other.arm is None


def test_a_state_does_not_change_behind_its_owner():
    rule = strength.bandit((0.0, 1.0), every=1)
    play(rule, 5, saving, worsening)
    state = rule.state_dict()
    kept = json.dumps(state)
    play(rule, 5, saving, worsening)
    assert json.dumps(state) == kept


@pytest.mark.filterwarnings("ignore:the penalty is nan at iteration 0")
def test_what_is_not_finite_is_not_counted():
    rule = strength.bandit((0.0, 1.0), every=2)
    assert rule.total(NOTHING + 1, NOTHING * math.nan, nfev=7).item() == 1.0
    play(rule, 1, saving, worsening)
    assert rule._reference == 100.0
    with pytest.warns(UserWarning, match="the task loss is nan"):
        rule.total(NOTHING * math.nan, NOTHING + 1, nfev=7)
    assert rule.off and rule.value == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.bandit((1.0,)), "arms must be a list of at least two strengths"),
        (lambda s: s.bandit((1.0, 1.0)), "all different"),
        (lambda s: s.bandit(1.0), "arms must be a list"),
        (lambda s: s.bandit("ab"), "arms must be a list"),
        (lambda s: s.bandit((0.0, -1.0)), r"arms\[1\] must be"),
        (lambda s: s.bandit((0.0, math.nan)), r"arms\[1\] must be"),
        (lambda s: s.bandit(bandit="tsalis"), "tsallis"),
        (lambda s: s.bandit(every=0), "every must be"),
        (lambda s: s.bandit(budget=0.0), "budget must be"),
        (lambda s: s.bandit(seed=-1), "seed must be"),
        (lambda s: s.bandit(bandit="chebyshev"), "needs context_range"),
        (lambda s: s.bandit(bandit="chebyshev", context_range=(1.0, 1.0)), "context_range"),
        (lambda s: s.bandit(context_range=(0.0, 1.0)), "takes no context_range"),
        (lambda s: s.bandit().total(NOTHING, NOTHING + 1), "pass nfev="),
        (lambda s: s.ratio(s.bandit()).total(NOTHING, NOTHING + 1, [NOTHING]), "pass nfev="),
        (
            lambda s: s.bandit(bandit="chebyshev", context_range=(0, 1)).total(NOTHING, NOTHING + 1, nfev=3),
            "pass context=",
        ),
        (lambda s: s.constant(1.0).total(NOTHING, NOTHING + 1, context=math.nan), "context must be"),
        (lambda s: s.bandit().respond(NOTHING), "does not respond"),
        (lambda s: s.make("bandit", arm=[0.0, 1.0]), "no option 'arm'"),
    ],
)
def test_what_does_not_fit(call, words):
    with pytest.raises(ValueError, match=words):
        call(strength)


def test_a_run_on_two_spirals():
    task = Spirals()
    rule = strength.ratio(strength.bandit((0.0, 0.5), every=4, budget=0.5), every=8)
    losses = []
    for _ in range(40):
        loss, out = task.out("train")
        task.step(rule.total(loss, out.penalty, task.parameters, nfev=out.solution.stats.nfev))
        losses.append(loss.item())
    assert losses[-1] < losses[0] and not rule.off
    assert sum(rule.inner.plays) == 9 and rule.inner._reference >= 14 and 0.0 <= rule.inner.told <= 1.0


def test_every_kind_is_known_and_no_name_twice():
    from stepsmith.integrators.neural.strength import register

    kinds = {"bandit", "best_response", "hypergradient", "ratio", "constant"}
    assert kinds <= set(strength.KINDS) and len(set(strength.KINDS)) == len(strength.KINDS)
    register("bandit", strength.bandit)  # the same again
    for name in ("bandit", "ratio", "constant"):
        with pytest.raises(ValueError, match="already"):
            register(name, lambda: None)
    with pytest.raises(ValueError, match="did you mean 'bandit'"):
        strength.make("bandits")
