"""Controllers by name: laws, the method's own, this family's tuned one, the zoo, and files."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from ..integrators import methods
from ..integrators.core.names import unknown
from ..integrators.methods.method import UNIVERSAL
from ..integrators.methods.tableaus import ExplicitTableau
from .hub import is_hub
from .kept import kept
from .laws import registry
from .laws.law import Law

#: the name under which a method's own law is asked for
AUTO = "auto"


def controller(name: str, family: str | None = None, method: str | ExplicitTableau | None = None) -> Any:
    """The controller called `name`.

    That is a law, "auto" (the law that the method has where no controller is named; without a method that of explicit
    ones), "tuned" (the law that `stepsmith tune` found for the family and method), a name of the zoo or of the Hub
    (`hub`: "hf:OWNER/REPO#sha256=HEX"), or the path of a controller file (`.safetensors`) or of a tuned law (`.json`).
    Raises ValueError naming the nearest.
    """
    if name == AUTO:
        return _by_name(UNIVERSAL if method is None else methods.get(method).own_law())
    if name == "tuned":
        from .laws.tuned import tuned

        if family is None:
            raise ValueError(
                "controller 'tuned' belongs to a family; this problem has none: name a law or a controller file"
            )
        return tuned(family, method)
    if is_hub(name):
        from .file import load_learned

        return load_learned(name)
    if name.endswith(".json"):
        from .laws.tuned import read

        if not os.path.exists(name):
            raise ValueError(f"{name}: there is no such file")
        return kept(name, lambda path: read(path)[0])
    if name.endswith(".safetensors") or os.sep in name:
        from .file import load_learned

        return kept(name, load_learned)
    return _by_name(name)


def base_law(law: str | Law | Mapping[str, Any], family: str, method: str | ExplicitTableau | None = None) -> Law:
    """A classical law for a residual: an object, a name, "tuned", or {"base": one of these, coefficient: value, ...}.

    The last is the base with other coefficients, as a training file writes it: law = { base = "tuned", kappa = 0.0 }.
    Raises ValueError for unknown names, coefficients out of range and a mapping without a base.
    """
    if isinstance(law, Mapping):
        changes = dict(law)
        if "base" not in changes:
            raise ValueError("a law given as a table needs a 'base'")
        base = base_law(changes.pop("base"), family, method)
        return Law(f"{base.name}, changed", base.kind, {**base.values, **changes}, base.rules, base.doc, base.source)
    return controller(law, family, method) if law in ("tuned", AUTO) else registry.get(law)


def _by_name(name: str) -> Any:
    own = registry.of_caller(name)
    return _shipped(name) if own is None else own


@functools.cache
def _shipped(name: str) -> Any:
    if name in registry.names():
        return registry.get(name)
    from .zoo import names as zoo_names

    zoo = zoo_names()
    if name in zoo:
        from .file import load_learned

        return load_learned(name)
    raise unknown("controller", name, [*registry.names(), *zoo, AUTO, "tuned"])
