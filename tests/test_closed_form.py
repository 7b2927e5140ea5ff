"""Closed-form controllers: products of features, the formula as text, folding, selecting, distilling."""

import math
import pickle
import re

import numpy as np
import pytest

from stepsmith.controllers.file import describe, load, save
from stepsmith.controllers.laws.law import Law
from stepsmith.controllers.learned import products
from stepsmith.controllers.learned.as_formula import formula, numbers
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.features import FEATURES, clipped
from stepsmith.controllers.learned.network import Learned
from stepsmith.controllers.learned.observation import Observation
from stepsmith.integrators import problems
from stepsmith.integrators.core import formulas
from stepsmith.integrators.core.record import ERR, HS, N_RECORD, ORDER, T_LEFT, TRUNCATED, H
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.policies import closed_form
from stepsmith.train.closed.distilled import distilled

NAMES = ("log_err", "log_left", "log_err*log_left")
WEIGHTS = [[-0.05, 0.21, -0.13], [0.0, 0.1, 0.0]]
BIAS = [0.02, -0.1]


def made(**rest):
    return closed_form.linear(NAMES, "pi34", weights=WEIGHTS, bias=BIAS, **rest)


def record(err, h, left, hs=1.0):
    found = np.ones(N_RECORD)
    found[ERR], found[H], found[T_LEFT], found[HS], found[ORDER], found[TRUNCATED] = err, h, left, hs, 5.0, 0.0
    return found


@pytest.mark.parametrize("pair", ["log_err*log_left", "log_hs*log_hs"])
def test_a_product_is_that_of_the_scaled_values(pair):
    a, b = (FEATURES[name] for name in pair.split("*"))
    f = products.named(pair)
    state = np.zeros(6)
    for err, h, left, hs in ((0.3, 0.1, 2.0, 0.7), (5.0, 1e-3, 40.0, 3.0), (np.nan, 0.1, 1.0, np.nan)):
        at = record(err, h, left, hs)
        want = math.prod(float(clipped(x.fn(state, at), x.low, x.high, x.shift, x.scale)) for x in (a, b))
        assert float(f.fn(state, at)) == want
        assert f.bounds[0] <= want <= f.bounds[1]
    assert f.tier == max(a.tier, b.tier) and f.slots == a.slots | b.slots


def test_products_that_are_none():
    for name, said in (("log_er*log_left", "log_err"), ("log_err*", "unknown feature"), ("a*b*c", "two features")):
        with pytest.raises(ValueError, match=re.escape(said)):
            Observation((name,))
    with pytest.raises(ValueError, match="repeated"):
        Observation(("log_err*log_left", "log_left*log_err"))
    assert Observation(("log_err * log_left",)).features == ("log_err*log_left",)


def test_product_of_an_own_feature_is_compiled_anew_when_it_changes():
    from stepsmith.controllers.learned import features

    try:
        keys, values = [], []
        for factor in (1.0, 2.0):

            @formulas.formula
            def log_mine(state, record, factor=factor):
                """Mine."""
                return factor * formulas.log(record[H])

            features.register(log_mine, -20.0, 20.0, 0.0, 0.1)
            seen = Observation(("log_mine*log_mine",))
            keys.append(seen.key)
            values.append(float(seen.table[0].fn(np.zeros(6), record(1.0, 0.1, 1.0))))
        assert keys[0] != keys[1] and values[1] == pytest.approx(4.0 * values[0])
    finally:
        FEATURES.pop("log_mine", None)


def test_file_pickle_and_text(tmp_path):
    controller = made(name="mine")
    save(controller, tmp_path / "c.safetensors")
    for twin in (load(tmp_path / "c.safetensors"), pickle.loads(pickle.dumps(controller))):
        assert twin.key == controller.key and np.array_equal(twin.params, controller.params)
    said = describe(controller)
    assert "6 numbers" in said and "0.21 log_left" in said and "log_err*log_left" in said


def value_of(text, features):
    """What a formula's right side adds to the law, evaluated as Python."""
    text = text.split(" + ", 1)[1]
    for name in sorted(features, key=len, reverse=True):
        text = text.replace(name, f"({features[name]!r})")
    text = re.sub(r"(?<=[0-9]) \(", " * (", text)
    return eval(re.sub(r"^([0-9.e-]+) clip", r"\1 * clip", text), {"clip": lambda x: min(max(x, -1.0), 1.0)})


def test_the_printed_formula_is_what_is_computed():
    controller = made()
    rng = np.random.default_rng(0)
    for obs in rng.uniform(-3.0, 3.0, (20, 3)):
        actions = controller.action_numpy(obs)
        got = [value_of(line, dict(zip(NAMES, obs.tolist(), strict=True))) for line in formula(controller, digits=12)]
        d = controller.decision
        np.testing.assert_allclose(got, actions * [d.residual_scale, d.threshold_scale], rtol=1e-9, atol=1e-12)


def test_linear_controller_decides_as_its_numbers_say_in_every_loop():
    """Lanes, a single solve and NumPy: the first decision is that of the formula."""
    batch = problems.family("lotka_volterra").split("train", 20, 0)
    law = closed_form.linear(("log_err",), "pi34", n_act=1)
    moved = closed_form.linear(("log_err", "log_err*log_err"), "pi34", n_act=1, weights=[[0.1, -0.07]], bias=[0.05])
    whole, one = (solve_ensemble(batch, "tsit5", c, 1e-6, 1e-6, threads=1) for c in (moved, law))
    assert not np.array_equal(whole.stats.naccept, one.stats.naccept)
    for i in (0, 7):
        single = solve(batch[i], "tsit5", moved, 1e-6, 1e-6)
        assert single.stats.naccept == whole.stats.naccept[i]
        np.testing.assert_allclose(single.y[-1], whole.y[i], rtol=1e-9)
    state, at = np.zeros(moved.n_state), record(0.5, 0.1, 3.0)
    got, plain = moved.decide_numpy(state, at), law.decide_numpy(np.zeros(law.n_state), at)
    x = 0.5 * math.log(0.5)
    assert got[1] - plain[1] == pytest.approx(1.5 * (0.05 + 0.1 * x - 0.07 * x * x), rel=1e-12)


def test_folding_a_normaliser():
    decision = Decision(("log_err", "log_left"), "pi34", shift=[0.3, -1.0], scale=[2.0, 0.5], obs_clip=1000.0)
    controller = Learned(decision, [(np.array([[0.1, 0.2], [0.3, -0.4]]), np.array([0.05, 0.0]), "linear")])
    plain = closed_form.folded(controller)
    assert plain.decision.plain and not decision.plain
    rng = np.random.default_rng(1)
    raw = rng.uniform(decision.observation.low, decision.observation.high, (200, 2))
    np.testing.assert_allclose(
        plain.action_numpy(raw), controller.action_numpy((raw - decision.shift) * decision.scale), atol=1e-14
    )
    tight = controller.replace(decision=decision.replace(obs_clip=0.5))
    with pytest.raises(ValueError, match="cuts log_err, log_left off at 0.5"):
        closed_form.folded(tight)


def test_selecting_features():
    controller = made()
    less = closed_form.selected(controller, ("log_left", "log_hs"), means=[2.0, 0.0, -1.0])
    weight, bias = closed_form.matrix(less)
    assert weight.tolist() == [[0.21, 0.0], [0.1, 0.0]]
    np.testing.assert_allclose(bias, [0.02 - 0.05 * 2.0 + 0.13, -0.1])
    assert closed_form.numbers(controller) == numbers(controller) == 6


def test_networks_are_no_closed_forms():
    network = Learned.random(Decision(("log_err",), "pi34"), (4,), 0)
    with pytest.raises(ValueError, match="no closed form"):
        closed_form.matrix(network)
    assert "formula" not in describe(network)


def test_imitation_finds_a_linear_teacher():
    teacher = closed_form.linear(("log_err", "log_left"), "pi34", weights=[[0.02, 0.05], [0.01, 0.03]], bias=[0.1, 0.2])
    found = distilled(teacher, "lotka_volterra", "tsit5", steps=60, lanes=16, pool_size=8, rounds=2)
    weight, bias = closed_form.matrix(found.controller)
    np.testing.assert_allclose(weight, closed_form.matrix(teacher)[0], atol=2e-4)
    np.testing.assert_allclose(bias, [0.1, 0.2], atol=2e-4)
    assert found.states == 2 * 60 * 16 and np.all(found.explained > 0.999)


def test_imitation_of_a_network_with_a_normaliser():
    decision = Decision(("log_err", "log_err_1"), "pi34", shift=[-1.0, -1.0], scale=[1.5, 1.0], obs_clip=10.0)
    teacher = Learned.random(decision, (6,), 3, 0.3, "tanh", "tanh")
    names = ("log_err", "log_err_1", "log_err*log_err")
    found = distilled(teacher, "lotka_volterra", "tsit5", names, steps=60, lanes=16, pool_size=8, rounds=3)
    blind = distilled(teacher, "lotka_volterra", "tsit5", ("streak",), steps=60, lanes=16, pool_size=8, rounds=3)
    assert found.controller.decision.plain and found.controller.provenance["distilled_from"] == teacher.name
    assert np.all(found.explained > 0.8) and np.all(blind.explained < found.explained)


def test_imitation_refuses():
    with pytest.raises(ValueError, match="teacher must be a learned controller"):
        distilled("three-body", "lotka_volterra")
    with pytest.raises(ValueError, match="rounds"):
        distilled(made(), "lotka_volterra", rounds=0)


def test_base_law_may_be_an_object():
    law = Law("mine", "linear", {"b1": 0.6, "accept_err": 4.0})
    assert closed_form.linear(("log_err",), law, n_act=1).decision.law.as_dict()["accept_err"] == 4.0
