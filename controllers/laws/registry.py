"""Laws by name.

>>> get("pi34", safety=0.8).as_dict()["safety"]
0.8
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from ...integrators.core.errors import OptionError, refuse, shown
from ...integrators.core.names import unknown
from ...integrators.core.options import text
from .law import Law
from .table import LAWS, RULES

_CRITERIA = ("aarseth", "amuse", "ias15")


def amuse(mu: float = 0.03) -> Law:
    """AMUSE's Hermite criterion, h = mu tau_amuse (dimensionless mu; default of AMUSE .03)."""
    return Law(
        "amuse", "criterion", {"amuse": _positive("mu", mu)}, "nbody",
        "h = mu min over pairs of {r^4/v^4, r^2/a^2}^(1/4)", "AMUSE, community/hermite",
    )  # fmt: skip


def aarseth(eta: float = 0.02) -> Law:
    """Aarseth's criterion, h = sqrt(eta) tau_aarseth.

    eta stands *inside* the root: its .02 is .14 where the parameter is written outside.
    """
    return Law(
        "aarseth", "criterion", {"aarseth": math.sqrt(_positive("eta", eta))}, "nbody",
        "h = sqrt(eta (|a||a2| + |a1|^2)/(|a1||a3| + |a2|^2))", "Aarseth 1985; Makino & Aarseth 1992",
    )  # fmt: skip


def ias15(epsilon: float = 1e-9) -> Law:
    """REBOUND's default for IAS15 since 2024, h = (5040 epsilon)^(1/7) tau_prs.

    A step grows by at most 4, and is repeated where h'/h < 1/4.
    """
    c = (5040.0 * _positive("epsilon", epsilon)) ** (1 / 7)
    return Law(
        "ias15", "criterion", {"prs": c, "accept_factor": 0.25, "fmax": 4.0}, "nbody",
        "h = (5040 epsilon)^(1/7) sqrt(min over bodies of 2 y2/(y3 + sqrt(y4 y2)))",
        "Pham, Rein & Spiegel 2024, doi 10.21105/astro.2401.02849",
    )  # fmt: skip


def constant(h: float) -> Law:
    """The constant step h > 0 (units of time); every finite attempt is accepted."""
    return Law("constant", "constant", {"h": _positive("h", h)}, "", "constant step", "")


def _positive(name: str, value: float) -> float:
    try:
        x = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not (0.0 < x < math.inf):
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return x


_MAKERS: dict[str, Callable[..., Law]] = {"amuse": amuse, "aarseth": aarseth, "ias15": ias15, "constant": constant}


_REGISTERED: dict[str, Law] = {}
#: names of registered laws that do not stand among all laws
_UNLISTED: set[str] = set()


def register(law: Law, listed: bool = True) -> Law:
    """Let `law.name` name a law of a caller's own wherever a law is named in this process; returns it.

    A law that was registered under the name before is replaced.  listed: it stands among all laws (`names`), and so in
    comparisons and searches.  ValueError for what is no `Law`, and for the name of a law that ships.
    """
    from ..zoo import names as zoo_names

    if not isinstance(law, Law):
        raise refuse("law", "a stepsmith.controllers.laws.Law", law)
    name = text("law.name", law.name)
    if name in LAWS or name in _MAKERS or name in ("auto", "tuned") or name in zoo_names():
        raise OptionError(
            f"law {shown(name)} ships with the package, or is a name of its own: give this one another name"
        )
    if os.sep in name or name.endswith((".json", ".safetensors")):
        raise OptionError(f"law {shown(name)} has the name of a file: give it another one")
    _REGISTERED[law.name] = law
    (_UNLISTED.discard if listed else _UNLISTED.add)(law.name)
    return law


def of_caller(name: str) -> Law | None:
    """The law that a caller registered under the name, or None."""
    return _REGISTERED.get(name)


def names(kind: str | None = None) -> list[str]:
    """Names of the laws, sorted; only those of `kind` ("linear", "criterion", "constant") if given."""
    kinds = {"linear": list(LAWS), "criterion": list(_CRITERIA), "constant": ["constant"]}
    for law in _REGISTERED.values():
        if law.name in _UNLISTED:
            continue
        kinds[law.kind].append(law.name)
    if kind is None:
        return sorted(n for group in kinds.values() for n in group)
    if kind not in kinds:
        raise unknown("kind of law", kind, kinds)
    return sorted(kinds[kind])


def get(name_or_law: str | Law, *, rules: str | None = None, **coefficients: float) -> Law:
    """The law of that name, or the given one, with coefficients replaced.

    Linear laws take any coefficient of `laws.LINEAR`, and `rules`, the name of another code's acceptance,
    limiter and rejection rules (`table.RULES`), applied before `coefficients`.  "amuse" takes mu,
    "aarseth" eta, "ias15" epsilon, "constant" h (needed). Raises ValueError for an unknown name, naming
    the nearest, and for coefficients that the law does not have.
    """
    if isinstance(name_or_law, Law):
        if rules is not None:
            return _with_rules(name_or_law, rules, {}).replace(**coefficients)
        return name_or_law.replace(**coefficients) if coefficients else name_or_law
    if not isinstance(name_or_law, str):
        raise unknown("law", name_or_law, names())
    if name_or_law in _REGISTERED:
        return get(_REGISTERED[name_or_law], rules=rules, **coefficients)
    if name_or_law in _MAKERS:
        if rules is not None:
            raise ValueError(f"law {name_or_law!r} takes no rules")
        return _make(name_or_law, coefficients)
    if name_or_law not in LAWS:
        raise unknown("law", name_or_law, names())
    own, changes, doc, source = LAWS[name_or_law]
    law = Law(name_or_law, "linear", {**RULES[own], **changes}, own, doc, source)
    if rules is not None:
        law = _with_rules(law, rules, changes)
    return law.replace(**coefficients) if coefficients else law


def _with_rules(law: Law, rules: str, changes: dict[str, float]) -> Law:
    if law.kind != "linear":
        raise ValueError(f"law {law.name!r} takes no rules")
    if rules not in RULES:
        raise unknown("rules", rules, RULES)
    gains = {name: law[name] for name in ("b1", "b2", "b3", "a2", "a3", "min_i")}
    return Law(law.name, "linear", {**gains, **RULES[rules]}, rules, law.doc, law.source)


def _make(name: str, coefficients: dict[str, float]) -> Law:
    allowed = {"amuse": "mu", "aarseth": "eta", "ias15": "epsilon", "constant": "h"}[name]
    for given in coefficients:
        if given != allowed:
            raise unknown(f"coefficient of law {name!r}", given, [allowed])
    if name == "constant" and not coefficients:
        raise ValueError("law 'constant' needs a step size: get('constant', h=...)")
    return _MAKERS[name](**coefficients)
