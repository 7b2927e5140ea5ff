"""Laws: their rules for limits, acceptance and rejection; their names, coefficients and search space."""

import math
from pathlib import Path

import numpy as np
import pytest

import stepsmith as ss
from law_driver import Driver
from stepsmith.controllers.laws import law as laws
from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.law import Law
from stepsmith.controllers.laws.search import search_space
from stepsmith.controllers.laws.table import LAWS, RULES
from stepsmith.integrators.core.contract import S_LE1, S_NACC, S_STREAK

# ---- rules


def test_hard_limits_and_dead_band():
    driver = Driver(registry.get("i"))
    assert driver(1e-30)[1] == pytest.approx(10)
    assert driver(1e30) == (False, pytest.approx(0.2))
    law = registry.get("i", band_lo=0.9, band_hi=1.2)
    for factor in (0.91, 1.0, 1.19):
        assert Driver(law)((0.9 / factor) ** 5) == (True, 1.0)
    assert Driver(law)((0.9 / 1.21) ** 5) == (True, pytest.approx(1.21))
    assert Driver(law.replace(accept_err=2.0))((0.9 / 0.89) ** 5) == (True, pytest.approx(0.89))
    assert Driver(law)(2.0)[1] < 0.9  # a rejected attempt never stays in the band
    held = registry.get("radau5")
    assert Driver(held)((0.9 / 1.1) ** 4, order=4.0, newton_rate=1e-4)[1] == 1.0
    assert Driver(held)((0.9 / 1.1) ** 4, order=4.0, newton_rate=1e-2)[1] == pytest.approx(1.1)


def test_smooth_limiter():
    law = registry.get("i", safety=1.0, kappa=2.0, fmin=0.0, fmax=math.inf, accept_err=math.inf)
    for x in (1e-3, 0.5, 1.0, 1.7, 30.0):
        assert Driver(law)(x**-5.0)[1] == pytest.approx(1 + 2 * math.atan((x - 1) / 2), rel=1e-13)


def test_acceptance_by_error_is_strict_where_the_code_is():
    assert Driver(registry.get("scipy"))(1.0)[0] is False
    assert Driver(registry.get("i"))(1.0)[0] is True
    assert Driver(registry.get("i"))(math.nextafter(1.0, 2.0))[0] is False


def test_acceptance_by_factor():
    """E = 10 after a quiet step passes H211b's test (factor >= .81), E = 1e4 does not."""
    driver = Driver(registry.get("h211b"))
    assert driver(1.0) == (True, pytest.approx(1.0))
    accepted, factor = driver(10.0)
    assert accepted and factor == pytest.approx(1 + math.atan(10 ** (-0.05) - 1))
    assert driver(1e4)[0] is False


def test_no_growth_after_a_rejection():
    for name in ("scipy", "i", "dopri5_pi", "dop853", "predictive"):
        driver = Driver(registry.get(name))
        driver(0.5)
        assert driver(3.0)[0] is False and driver.state[S_STREAK] == 1
        assert driver(1e-6, 0.05) == (True, pytest.approx(1.0)), name
        assert driver(1e-6, 0.05)[1] > 1.5
    driver = Driver(registry.get("julia_pi"))
    driver(0.5)
    driver(3.0)
    assert driver(1e-6, 0.05)[1] > 1.5


def test_arkode_holds_after_a_failure_and_shrinks_hard_at_the_second():
    driver = Driver(registry.get("arkode"))
    assert driver(1e-9)[1] == pytest.approx((1e-9) ** -0.25 * 0.9)  # 1e4 is allowed once
    driver = Driver(registry.get("arkode"))
    for _ in range(3):
        driver(0.5)
    first = driver(1.5)
    assert first[0] is False and 0.3 < first[1] < 1
    assert driver(1.5) == (False, pytest.approx(0.3))
    assert driver(1e-3, 0.01) == (True, 1.0)
    assert driver(1e-9, 0.01)[1] == pytest.approx(20)


def test_first_rejection_of_radau5_and_newton_limiter():
    driver = Driver(registry.get("radau5"))
    assert driver(2.0, order=4.0) == (False, pytest.approx(0.1))
    driver = Driver(registry.get("predictive"))
    assert driver(0.5, order=4.0, newton_iters=6.0)[1] == pytest.approx(0.9 * 15 / 20 * 0.5**-0.25)
    assert Driver(registry.get("predictive"))(0.5, order=4.0)[1] == pytest.approx(0.9 * 0.5**-0.25)


def test_order_override():
    assert Driver(registry.get("i", order=3.0))(0.5)[1] == pytest.approx(0.9 * 0.5 ** (-1 / 3))


# ---- names, coefficients, search


def test_names_and_errors():
    assert {"i", "pi34", "h211b", "predictive", "amuse", "constant", "scipy"} <= set(registry.names())
    assert registry.names("criterion") == ["aarseth", "amuse", "ias15"]
    for call, text in (
        (lambda: registry.get("pi43"), "pi42|pi34"), (lambda: registry.get("H211c"), "h211b"),
        (lambda: registry.get("pi34", saftey=0.8), "'safety'"),
        (lambda: registry.get("pi34", safety="big"), "number"),
        (lambda: registry.get("pi34", safety=-1), "safety must be in"),
        (lambda: registry.get("pi34", b1=math.nan), "b1"),
        (lambda: registry.get("constant"), "step size"), (lambda: registry.constant(0.0), "positive"),
        (lambda: registry.aarseth(math.inf), "positive"), (lambda: registry.names("liner"), "linear"),
        (lambda: registry.get("pi34", rules="petsk"), "'petsc'"),
        (lambda: registry.get("amuse", eta=1), "mu"),
        (lambda: registry.get("amuse", rules="petsc"), "no rules"),
        (lambda: registry.get(None), "unknown law"),
        (lambda: registry.amuse().poles(), "not linear"), (lambda: registry.get("i")["b9"], "b1"),
        (lambda: laws.Law("x", "cubic", {}), "kind"), (lambda: laws.Law("x", "criterion", {}), "amuse"),
        (lambda: registry.get("pi34", reject_b1=0.0, b1=-1.0), "shrink"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            call()


def test_replace_rules_and_dictionaries():
    law = registry.get("h211b", safety=0.95)
    assert law["safety"] == 0.95 and law["kappa"] == 1.0 and registry.get("h211b")["safety"] == 1.0
    assert registry.get(law) is law and registry.get(law, kappa=2.0)["safety"] == 0.95
    other = registry.get("h211b", rules="sundials")
    assert (other["b1"], other["a2"], other["fmax"], other["kappa"]) == (0.25, 0.25, 20.0, 0.0)
    assert registry.get(law, rules="scipy")["fmax"] == 10.0
    for name in registry.names("linear"):
        law = registry.get(name)
        again = laws.Law(name, "linear", law.as_dict())
        assert np.array_equal(again.params, law.params) and again.key == law.key
        assert law.params.dtype == np.float64 and law.params.ndim == 1 and np.isfinite(law.params).all()
    assert registry.get("julia_pi").replace(fmax=5.0)["fmax_first"] == 1e4
    assert registry.get("scipy").replace(fmax=5.0)["fmax_first"] == 5.0
    assert registry.get("dopri5_pi", b1=0.7)["reject_b1"] == 0.7
    assert set(RULES) >= {rules for rules, *_ in LAWS.values()}


def test_head_of_the_state():
    driver = Driver(registry.get("pi34"))
    driver(1e-9)
    assert driver.state[S_LE1] == pytest.approx(math.log(1e-4))
    driver(0.5, 0.2)
    assert driver.state == pytest.approx([math.log(0.5), math.log(1e-4), math.log(0.2), math.log(0.1), 0, 2])
    driver(7.0, 0.3)
    assert driver.state[S_STREAK] == 1 and driver.state[S_NACC] == 2
    driver.law.init(driver.params, driver.state)
    assert not driver.state.any()


@pytest.mark.parametrize("name", registry.names("linear"))
def test_search_space_round_trip(name):
    """A published law, written as a vector and read back on its own base, decides as before."""
    space, law = search_space(), registry.get(name)
    v = space.to_vector(law)
    assert ((v >= space.low) & (v <= space.high)).all() and v.shape == (len(space),) == (11,)
    back = space.from_vector(v, law)
    assert space.to_vector(back) == pytest.approx(v, abs=1e-12)
    a, b, rng = Driver(law), Driver(back), np.random.default_rng(1)
    for _ in range(200):
        err, h = 10 ** rng.uniform(-6, 3.9), 10 ** rng.uniform(-1, 0)
        if abs(err - 1) < 1e-9:
            continue
        x, y = a(err, h), b(err, h)
        assert x == (y[0], pytest.approx(y[1], rel=1e-12))


def test_search_space_refuses_bad_vectors():
    space = laws.search_space()
    v = space.to_vector(registry.get("pi34"))
    assert set(space.starts()) == set(registry.names("linear"))
    with pytest.raises(ValueError, match="length 11"):
        space.from_vector(v[:5])
    with pytest.raises(ValueError, match="finite"):
        space.from_vector(v * np.nan)
    with pytest.raises(ValueError, match="b1"):
        space.from_vector(v + np.eye(11)[1] * 9)
    with pytest.raises(ValueError, match="only linear"):
        space.to_vector(registry.amuse())
    with pytest.raises(ValueError, match="not linear"):
        space.from_vector(v, "amuse")
    rng = np.random.default_rng(0)
    for _ in range(50):
        law = space.from_vector(rng.uniform(space.low, space.high), "julia_pi")
        assert np.isfinite(law.params).all() and Driver(law)(2.0)[1] > 0


def test_every_name_and_rule_is_documented():
    text = (Path(__file__).parents[1] / "docs" / "controllers.md").read_text()
    for name in registry.names():
        assert f"| `{name}` |" in text, name
    for rules in RULES:
        assert f"| {rules} " in text, rules


def test_an_error_floor_that_is_never_accepted_is_refused():
    with pytest.raises(ValueError, match="err_min"):
        registry.get("pi34").replace("stuck", err_min=0.5, accept_err=0.4)


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    return registry.register(
        Law("mine", "linear", {**RULES["plain"], "b1": 0.5, "b2": -0.3}, "plain", "a law of one's own", "")
    )


def test_a_registered_law_is_known_by_its_name(mine):
    assert registry.get("mine") is mine and "mine" in registry.names() and "mine" in registry.names("linear")
    assert registry.get("mine", safety=0.8)["safety"] == 0.8
    problem = ss.problems.make("lotka_volterra", seed=0)
    assert ss.solve(problem, "bs32", "mine").stats.nfev == ss.solve(problem, "bs32", mine).stats.nfev
    again = registry.register(mine.replace(safety=0.7))  # a cell that is changed and runs again
    assert ss.controller("mine") is again
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        registry.get("mime")


def test_names_of_shipped_laws_are_taken(mine):
    for name in ("pi34", "amuse"):
        with pytest.raises(ValueError, match=f"law '{name}' ships with the package"):
            registry.register(Law(name, "linear", mine.values, "plain", "", ""))
    refused = {
        "three-body": "ships",
        "tuned": "ships",
        "x.json": "name of a file",
        "a/b": "name of a file",
        "": "a name",
    }
    for name, words in refused.items():
        with pytest.raises(ValueError, match=words):
            registry.register(Law(name, "linear", mine.values, "plain", "", ""))
    with pytest.raises(ValueError, match="law must be a stepsmith.controllers.laws.Law"):
        registry.register("pi34")


def test_a_search_keeps_what_a_law_does_when_it_rejects():
    """`reject_b1` is kept where it is set, also where it happens to equal b1."""
    space = search_space()
    for base in ("h211b", registry.get("i", rules="petsc")):
        law = space.from_vector(space.to_vector(registry.get("pi42")), base)
        assert law["reject_b1"] == 1.0 and law["reject_own"] == 0.0
    assert space.from_vector(space.to_vector(registry.get("pi34")), "dopri5_pi")["reject_b1"] == pytest.approx(
        registry.get("pi34")["b1"]
    )
