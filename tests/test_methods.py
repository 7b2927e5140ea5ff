"""The registry of methods: every method has all its parts, the documentation shows them, and others can be registered.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.core import record
from stepsmith.integrators.methods import tableaus
from stepsmith.integrators.methods.explicit.method import explicit
from stepsmith.integrators.methods.explicit.tableau import ExplicitTableau
from stepsmith.integrators.methods.places import PLACES
from stepsmith.train.cli import listing

ROOT = Path(__file__).parents[1]


def table() -> str:
    """Rows of `docs/methods.md`, from the registry."""
    lines = [
        "| name | order | what it is | record slots beyond the common ones | runs on | law | source |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in methods.names():
        m = methods.get(name)
        order = f"{m.order}({m.embedded_order})" if m.embedded_order else f"{m.order}, no estimate"
        slots = ", ".join(record.NAMES[i] for i in sorted(m.fills - methods.method.COMMON))
        law = f"`{m.law}`" if m.embedded_order else "name one"
        lines.append(f"| `{name}` | {order} | {m.doc} | {slots} | {', '.join(m.devices)} | {law} | {m.source} |")
    return "\n".join(lines)


def test_the_documentation_shows_the_registry():
    assert table() in (ROOT / "docs" / "methods.md").read_text()


@pytest.mark.parametrize("name", methods.names())
def test_a_method_has_all_its_parts(name):
    m = methods.get(name)
    assert m.name == name and m is methods.get(name) and methods.named(name) == name == methods.registered(name)
    assert m.doc and m.source and set(m.devices) <= set(methods.DEVICES) and m.uses in ("rhs", "accel", "both")
    # the estimate of a method of several steps is that of the order in use, the greatest one's of the greatest; that of
    # rosenbrock23 is by a formula of higher order, and that of rkc by values and slopes at both ends
    above = PLACES[name] == "multistep" or name in ("rosenbrock23", "rkc")
    assert m.order >= 1 and m.embedded_order < m.order + above and m.dense_order >= 1
    assert (record.ERR in m.fills) == (m.embedded_order > 0)
    assert m.implicit == (record.NLU in m.fills) and (m.factor_pairs <= m.implicit)
    assert ("torch" in m.devices) == (m.tableau is not None) == (name in tableaus.NAMES)
    assert m.implicit == (name in (*tableaus.IMPLICIT, "bdf"))
    assert any(row[0] == name and m.doc in row[1] for row in listing.LISTS["methods"]())


@pytest.fixture
def heun(monkeypatch):
    monkeypatch.setattr(methods, "_REGISTERED", {})
    tableau = ExplicitTableau(
        "heun_of_mine", order=2, embedded_order=1, c=(0, 1), a=((), (1,)), b=(0.5, 0.5), b_hat=(1, 0)
    )
    yield methods.register(explicit(tableau, "Heun's", "K. Heun 1900"))
    methods._built.cache_clear()


def test_a_registered_method_is_known_by_its_name(heun):
    problem = ss.problems.make("lotka_volterra", seed=0)
    named = ss.solve(problem, "heun_of_mine", "pi34", 1e-4, 1e-4)
    given = ss.solve(problem, heun.tableau, "pi34", 1e-4, 1e-4)
    assert named.success and named.stats.nfev == given.stats.nfev and (named.y == given.y).all()
    assert tableaus.get("heun_of_mine") is heun.tableau
    assert "heun_of_mine" in methods.names() and methods.registered("heun_of_mine") == "heun_of_mine"
    with pytest.raises(ValueError, match="did you mean 'heun_of_mine'"):
        methods.get("heun_of_mime")
    assert methods.register(heun) is heun  # a notebook's cell that runs twice


def test_names_that_are_taken_and_things_that_are_no_method(heun):
    other = ExplicitTableau(
        "heun_of_mine", order=2, embedded_order=1, c=(0, 0.5), a=((), (0.5,)), b=(0, 1), b_hat=(1, 0)
    )
    with pytest.raises(ValueError, match="there is a method 'heun_of_mine' already"):
        methods.register(explicit(other))
    with pytest.raises(ValueError, match="there is a method 'tsit5' already"):
        methods.register(methods.get("tsit5"))
    for changed in ({"order": 3}, {"parts": methods.get("bs32").parts}):
        with pytest.raises(ValueError, match="there is a method 'heun_of_mine' already"):
            methods.register(dataclasses.replace(heun, **changed))
    with pytest.raises(ValueError, match="method.name must be a name"):
        methods.register(dataclasses.replace(heun, name=""))
    with pytest.raises(ValueError, match="a method and its tableau have one name"):
        methods.register(dataclasses.replace(methods.get("dopri5"), name="mine"))
    with pytest.raises(ValueError, match="method must be a stepsmith.integrators.methods.Method"):
        methods.register("tsit5")


#: what the codes that the methods come from, or that are written for their kind, choose steps by
OWN_LAWS = {
    "rodas5p": "rodas", "ros3prw": "rodas", "ros34pw2": "rodas", "rosenbrock23": "rodas",
    "kvaerno5": "radau5", "esdirk43": "radau5", "radau5": "radau5", "bdf": "multistep",
    "hermite4": "pi34", "hermite4_pec": "pi34", "leapfrog": "", "composition8": "",
}  # fmt: skip


def test_where_no_controller_is_named_the_method_has_its_own_law():
    problem = ss.problems.make("flame")
    for name in methods.names():
        method = methods.get(name)
        assert method.law == OWN_LAWS.get(name, "universal_law")
        assert method.law in registry.names() or not method.law
    for name in ("tsit5", "rodas5p", "radau5"):
        law = methods.get(name).law
        default, named, other = (ss.solve(problem, name, *given) for given in ((), (law,), ("i",)))
        assert np.array_equal(default.y, named.y) and not np.array_equal(default.t, other.t)
        for own in (None, "auto"):
            assert np.array_equal(ss.solve(problem, name, controller=own).t, named.t)
        batch = problem.batch()
        assert np.array_equal(ss.solve_ensemble(batch, name).y, ss.solve_ensemble(batch, name, law).y)
    half = F(1, 2)
    heun = ExplicitTableau("heun21", 2, 1, c=(0, 1), a=((), (1,)), b=(half, half), b_hat=(1, 0))
    assert np.array_equal(ss.solve(problem, heun).t, ss.solve(problem, heun, "universal_law").t)
    with pytest.raises(ValueError, match="unknown method 'rodas5'"):
        ss.solve(problem, "rodas5")
