"""One formula, many array libraries: rebind the global names that a plain Python function uses."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

_PACKAGE = __name__.split(".")[0]


def bind(
    formula: Callable[..., Any], namespace: Mapping[str, object], wrap: Callable[[Callable], Any] | None = None
) -> Callable[..., Any]:
    """Return `formula` with its global names looked up in `namespace` first.

    Plain functions of this package, and those marked by `formulas.formula`, are bound with it where `formula` calls
    them by a global name.  `wrap` is applied to them: a compiler cannot call a plain function.  None: what the
    namespace asks for (`namespaces.Namespace.wrap`), if anything.
    """
    if wrap is None:
        wrap = getattr(namespace, "wrap", None) or _same
    return _bind(formula, dict(namespace), wrap, {})


def _same(fn: Callable) -> Callable:
    return fn


def _bind(formula: Callable, namespace: dict, wrap: Callable, done: dict) -> Callable:
    glb = {**formula.__globals__, **namespace}
    fn = types.FunctionType(formula.__code__, glb, formula.__name__, formula.__defaults__, formula.__closure__)
    fn.__doc__ = formula.__doc__
    fn.__module__ = formula.__module__
    fn.__qualname__ = formula.__qualname__
    for name in formula.__code__.co_names:
        helper = formula.__globals__.get(name)
        if name in namespace or not isinstance(helper, types.FunctionType):
            continue
        if (helper.__module__ or "").split(".")[0] == _PACKAGE or getattr(helper, "formula", False):
            if helper not in done:
                done[helper] = wrap(_bind(helper, namespace, wrap, done))
            glb[name] = done[helper]
    return fn
