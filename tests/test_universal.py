"""The universal law and controller: names, tolerance scale, hosts; and the systems of dysts that they come from."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.file import load
from stepsmith.controllers.laws import registry, tuned
from stepsmith.train.evaluate.runs import Runs
from stepsmith.train.universal import search, splits, systems
from stepsmith.train.universal.compare import mean_figure, ratios, runs_of

SEARCHED = Path(__file__).parents[1] / "benchmarks" / "universal"
FLOWS = """
import numpy as np
from .base import DynSys, DynSysDelay, staticjit


class Turning(DynSys):
    @staticjit
    def _rhs(x, y, z, t, a, w):
        r = np.sqrt(x**2 + y**2)
        xdot = -y + a * np.heaviside(x - 9.0, 0.5) * r
        ydot = x - a * r
        zdot = w * z + np.cos(t)
        return xdot, ydot, zdot

    @staticjit
    def _jac(x, y, z, t, a, w):
        return None


class Sinking(DynSys):
    @staticjit
    def _rhs(x, y, z, t, a):
        r = a * x
        return r, -y, abs(z)


class Late(DynSysDelay):
    @staticjit
    def _rhs(x, y, z, t, a):
        return x, y, z


class Arrayed(DynSys):
    @staticjit
    def _rhs(x, y, z, t, a):
        return x, y, a[0] * z


class Branching(DynSys):
    @staticjit
    def _rhs(x, y, z, t, a):
        if x > 0:
            return x, y, z
        return y, x, z
"""


@pytest.fixture
def dysts(tmp_path, monkeypatch):
    """A package called dysts, whose import would fail: it is read alone."""
    root = tmp_path / "dysts"
    (root / "data").mkdir(parents=True)
    (root / "__init__.py").write_text("raise ImportError('it is not to be imported')\n")
    (root / "flows.py").write_text(FLOWS)
    facts = {
        name: {"initial_conditions": [1.0, 0.5, 0.2], "delay": name == "Late", "period": 2.0,
               "maximum_lyapunov_estimated": exponent, "parameters": parameters}
        for name, exponent, parameters in (
            ("Turning", 0.5, {"a": 0.3, "w": -1}), ("Sinking", 1e-3, {"a": -0.7}), ("Late", 1.0, {"a": 1.0}),
            ("Arrayed", 1.0, {"a": [1.0, 2.0]}), ("Branching", 1.0, {"a": 1.0}),
        )
    }  # fmt: skip
    (root / "data" / "chaotic_attractors.json").write_text(json.dumps(facts))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dysts", raising=False)
    importlib.invalidate_caches()
    return tmp_path


def test_plain_systems_are_read_without_importing_the_package(dysts):
    found = systems.read()
    assert list(found) == ["Sinking", "Turning"]  # no delays, no arrays, no returns from branches
    turning = found["Turning"]
    assert turning.arguments == ("x", "y", "z") and turning.parameters == {"a": 0.3, "w": -1.0}
    assert turning.span == 4.0 and found["Sinking"].span == systems.MOST_PERIODS * 2.0
    assert "dysts" not in sys.modules


def test_all_systems_of_a_dimension_are_one_right_hand_side(dysts, tmp_path):
    group = list(systems.read().values())
    rhs = systems.compiled(group, tmp_path / "written")
    p, dy = systems.parameters(group, [0, 1]), np.zeros(3)
    assert p.tolist() == [[0.0, -0.7, 0.0], [1.0, 0.3, -1.0]]
    for x in (-1.0, 9.0, 20.0):
        y = np.array([x, 0.5, -0.2])
        rhs(0.3, y, p[0], dy)
        np.testing.assert_allclose(dy, [-0.7 * x, -0.5, 0.2], rtol=1e-15)
        rhs(0.3, y, p[1], dy)
        r = np.hypot(x, 0.5)
        want = [-0.5 + 0.3 * np.heaviside(x - 9.0, 0.5) * r, x - 0.3 * r, 0.2 + np.cos(0.3)]
        np.testing.assert_allclose(dy, want, rtol=1e-14)
    # compiled, in lanes: each trajectory its own system
    batch = ss.Batch(rhs, np.tile([1.0, 0.5, 0.2], (2, 1)), p, np.zeros(2), np.full(2, 1.5))
    ends = ss.solve_ensemble(batch, "dop853", rtol=1e-11, atol=1e-13)
    assert ends.success.all()
    np.testing.assert_allclose(ends.y[0], [np.exp(-0.7 * 1.5), 0.5 * np.exp(-1.5), 0.2 * np.exp(1.5)], rtol=1e-9)


def test_systems_are_divided_and_drawn(dysts, tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "DIMENSIONS", (3,))
    monkeypatch.setattr(splits, "OWN", {"train": ("lotka_volterra",), "validation": (), "test": ()})
    found = splits.Systems(tmp_path / "written")
    sides = found.sides
    names = [name for side in sides.values() for name in side]
    assert sorted(names) == ["Sinking", "Turning", "lotka_volterra"] and sides == found.sides
    (split,) = found.draw("train", "bs32", 4, ["Turning"])
    assert split.family.name == "dysts:Turning" and split.tolerances[0] == 1e-2 and len(split.ids) == 4
    spans = split.batch.t1 - split.batch.t0
    assert (spans[::2] == 4.0).all() and (spans[1::2] < 2.0).all()
    law = registry.get("universal_law").unscaled()
    mine, theirs = runs_of([split], law, "universal_law"), runs_of([split], registry.get("pi34"), "pi34")
    same = ratios(mine, mine, [split])
    assert same.figure.ratio == 1.0 and same.dearer() == ()
    other = ratios(theirs, mine, [split])
    assert other.systems == ("Turning",) and 0.7 < other.figure.ratio < 1.6
    apart = splits.Systems(tmp_path / "apart", apart=True)
    (alone,) = apart.draw("train", "bs32", 4, ["Turning"])
    np.testing.assert_allclose(alone.ref, split.ref, rtol=1e-9)


def test_relatives_of_what_is_tested_on_are_known(monkeypatch):
    names = [name for group in splits.RELATIVES.values() for name in group]
    assert len(names) == len(set(names))
    assert splits.mechanism("Chen") == splits.mechanism("LuChen") == splits.mechanism("YuWang2")
    assert splits.mechanism("Chua") == "Chua"
    found = splits.Systems.__new__(splits.Systems)
    monkeypatch.setattr(
        splits.Systems, "sides", {"train": ("Lorenz", "kepler"), "validation": (), "test": ("Chua", "Chen", "Finance")}
    )
    assert found.unrelated("test") == ("Chua", "Finance") and found.unrelated("train") == ("kepler",)
    assert found.some("test") == ("Chua", "Chen", "Finance")
    assert found.some("test", 2) == found.some("test", 3)[:2] and set(found.some("test", 3)) == {
        "Chua", "Chen", "Finance",
    }  # fmt: skip


LEVELS = np.geomspace(1e-4, 1e-6, 17)


def runs(factors, name="a", rounds=None):
    """One system's runs: work on an instance is its factor over error^(1/5); that of factor 0 fails everywhere."""
    err = np.tile(np.geomspace(1e-2, 1e-8, 13), (len(factors), 1))
    work = 10.0 * np.maximum(np.array(factors), 1e-3)[:, None] * err**-0.2
    err[np.array(factors) == 0.0] = np.inf
    return Runs(name, err, {"nfev": work, "wall": work}, rounds={} if rounds is None else {"wall": rounds})


def test_lost_instances_are_counted_and_systems_without_a_ratio_too():
    made = [SimpleNamespace(family=SimpleNamespace(name=f"dysts:{k}", error_levels=LEVELS)) for k in ("A", "B", "C")]
    a = [runs([1.0, 1.0, 0.0, 0.0]), runs([0.5] * 4), runs([0.0] * 4)]
    b = [runs([2.0, 0.0, 2.0, 0.0]), runs([1.0] * 4), runs([0.0] * 4)]
    found = ratios(a, b, made, unrelated=("B",))
    assert (found.instances, found.lost, found.charged, found.both) == (12, 1, 1, 5)
    assert found.systems == ("A", "B") and found.skipped == ("C",) and found.losing == ("A",)
    assert found.uncharged.ratio == pytest.approx(0.5) and found.apart == 1
    assert found.unrelated.ratio == pytest.approx(0.5) and np.isnan(found.unrelated.low)
    back = ratios(b, a, made)
    assert back.figure.ratio == pytest.approx(1.0 / found.figure.ratio) and (back.lost, back.charged) == (1, 1)
    several = [[runs([f] * 4) for _ in made] for f in (0.5, 0.25, 0.4)]
    told = ratios(several[0], [runs([1.0] * 4)] * 3, made, several)
    assert told.figure.ratio == pytest.approx(0.5)
    assert [told.seeds[k] for k in ("n", "median", "low", "high")] == pytest.approx([3, 0.4, 0.25, 0.5])
    assert told.figure.low < 0.4 < 0.5 < told.figure.high
    json.dumps(told.to_json())


def test_systems_of_one_mechanism_are_drawn_together_and_rounds_widen_the_interval():
    value, rows = np.log([0.5, 0.5, 0.5, 0.9, 0.8, 1.0]), np.ones(6, dtype=bool)
    alone = mean_figure(value, np.array(list("abcdef")), [], rows)
    together = mean_figure(value, np.array(list("aaabcd")), [], rows)
    assert alone.ratio == pytest.approx(together.ratio) == pytest.approx(np.exp(value.mean()))
    assert together.high / together.low > alone.high / alone.low
    made = [SimpleNamespace(family=SimpleNamespace(name=k, error_levels=LEVELS)) for k in ("A", "B", "D")]
    b = [runs([1.0] * 4) for _ in made]
    rounds = np.tile(np.array([0.8, 1.0, 1.25])[:, None], 13)
    still = ratios([runs([f] * 4) for f in (0.8, 0.9, 1.0)], b, made, measure="wall").figure
    noisy = ratios([runs([f] * 4, rounds=rounds) for f in (0.8, 0.9, 1.0)], b, made, measure="wall").figure
    assert noisy.ratio == pytest.approx(still.ratio) and noisy.low < still.low and noisy.high > still.high


def test_what_ships_is_what_the_search_wrote():
    shipped = ss.controller("universal")
    ((weight, bias, _),) = shipped.layers
    ((mine, own, _),) = search.resting(load(SEARCHED / "seed-1.safetensors")).layers
    assert np.array_equal(weight, mine) and np.array_equal(bias, own)
    law, base = tuned.read(SEARCHED / "universal_pid.json")[0], shipped.decision.law
    assert law.rules == base.rules and all(law[k] == base[k] for k in {*law.values, *base.values})
    for seed in (0, 2):
        other = load(SEARCHED / f"seed-{seed}.safetensors")
        assert other.decision.law.values == load(SEARCHED / "seed-1.safetensors").decision.law.values
        assert other.provenance["seed"] == seed


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(systems.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install --no-deps dysts"):
        systems.read()


def test_the_tolerance_scale_of_a_law_is_part_of_it():
    plain, problem = ss.controller("universal_law"), ss.problems.make("lorenz", seed=1)
    assert plain.tolerance_scale == 1.0
    law = type(plain)("scaled", "linear", plain.values, tolerance_scale=3.5)
    assert law.unscaled().tolerance_scale == 1.0 and law.unscaled().name == "scaled"
    want = ss.solve(problem, "dopri5", plain, rtol=3.5e-6, atol=3.5e-9)
    for given in (law, pickle.loads(pickle.dumps(law)), copy.copy(law), law.general(), law.replace()):
        found = ss.solve(problem, "dopri5", given, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.t, want.t, rtol=1e-9)
    assert "3.5 times the tolerances asked for" in repr(found)
    assert plain.replace(tolerance_scale=3.5).tolerance_scale == 3.5 and "tolerance_scale=3.5" in repr(law)
    assert law.replace(safety=0.7).tolerance_scale == 3.5
    with pytest.raises(ValueError, match="tolerance_scale"):
        plain.replace(tolerance_scale=-1.0)
    with pytest.raises(ValueError, match="tolerance_scale"):
        type(law)("mine", "linear", {"b1": 1.0}, tolerance_scale=0.0)


@pytest.mark.parametrize("rtol", [1e-2, 1e-3, 1e-6])
@pytest.mark.parametrize("name", ["universal_law", "universal"])
def test_in_the_mean_they_make_a_smaller_error_than_scipys_law_at_the_same_tolerance(name, rtol):
    """Geometric means over families that no search has used: what a person sees who changes the controller alone.  On
    one of them (pleiades, 1e-6) the error is greater.
    """
    ratios_of = []
    for family in ("lorenz", "pleiades", "rate_network"):
        fam = ss.problems.family(family)
        batch = fam.split("validation", 8, 5)
        reference = fam.reference(batch)
        error = {}
        for controller in ("scipy", name):
            sol = ss.solve_ensemble(batch, "dopri5", controller, rtol, 1e-3 * rtol, t_eval=batch.times(fam.fractions))
            assert sol.success.all()
            error[controller] = np.exp(np.log(fam.errors(batch, sol.y_eval, reference.y)[reference.ok]).mean())
        ratios_of.append(error[name] / error["scipy"])
    assert 0.02 < np.exp(np.mean(np.log(ratios_of))) < 1.0, ratios_of


def test_auto_is_the_methods_own_law_wherever_a_controller_is_named():
    assert ss.controller("auto").name == "universal_law" and ss.controller("auto", method="radau5").name == "radau5"
    assert ss.controller("auto", method="hermite4").name == "pi34"
    with pytest.raises(ValueError, match="'leapfrog' has no error estimate"):
        ss.controller("auto", method="leapfrog")
    with pytest.raises(ValueError, match="name a controller"):
        ss.solve(ss.problems.make("plummer", seed=1), "leapfrog")
    with pytest.raises(ValueError, match="ships with the package"):
        registry.register(ss.controller("pi34").replace("auto"))
    batch = ss.problems.sample("lorenz", 3, 1)
    for method in ("tsit5", "rodas5p"):
        assert np.array_equal(
            ss.solve_ensemble(batch, method, "auto").y, ss.solve_ensemble(batch, method).y
        )  # fmt: skip


def test_the_learned_one_goes_into_every_host_that_shows_an_error_and_an_end():
    learned = ss.controller("universal")
    assert learned.decision.observation.tier == 1 and learned.trained_method is None
    learned.for_scipy("RK23"), learned.for_scipy("DOP853")
    for host in ("torchdiffeq", "torchode", "diffrax"):
        pytest.importorskip(host)
        getattr(learned, f"for_{host}")()


def test_under_implicit_methods_the_learned_one_warns(monkeypatch):
    from stepsmith.integrators.engine import trained_method

    monkeypatch.setattr(trained_method, "_TOLD", set())
    problem, learned = ss.problems.make("vanderpol", seed=1), ss.controller("universal")
    with pytest.warns(UserWarning, match=r"explicit methods \(tsit5, bs32\) and is used with 'rodas5p'"):
        ss.solve(problem, "rodas5p", "universal")
    with pytest.warns(UserWarning, match="used with SciPy's Radau"):
        learned.for_scipy("Radau")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ss.solve(ss.problems.make("lorenz", seed=1), "dopri5", "universal")
        learned.for_scipy("RK23")


def test_the_formula_rests_under_methods_of_high_order():
    learned, problem = ss.controller("universal").unscaled(), ss.problems.make("lorenz", seed=1)
    law = learned.decision.law
    high, plain = (ss.solve(problem, "dop853", c, 1e-6, 1e-9) for c in (learned, law))
    assert np.array_equal(high.t, plain.t)
    low, plain = (ss.solve(problem, "dopri5", c, 1e-6, 1e-9) for c in (learned, law))
    assert not np.array_equal(low.t, plain.t)
    from stepsmith.policies import closed_form
    from stepsmith.train.universal.search import resting

    weights, bias = [[0.02, 0.1], [0.0, 0.2]], [0.1, 0.0]
    made = closed_form.linear(("log_err", "time_left"), "pi34", n_act=2, weights=weights, bias=bias)
    for method, same in (("bs32", made), ("dop853", ss.controller("pi34"))):
        want, found = (ss.solve(problem, method, c, 1e-6, 1e-9) for c in (same, resting(made)))
        np.testing.assert_allclose(found.t, want.t, rtol=1e-12)
