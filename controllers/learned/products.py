"""Features by name, products of two of them among them: "log_hs*log_curv".

A product is that of both features' values after clip, shift and scale, so it is of size 1 as they are.  A linear
residual in products is a closed-form controller that bends: one weight a term.
"""

from __future__ import annotations

import functools

from ...integrators.core import options
from ...integrators.core.errors import OptionError, shown
from ...integrators.core.names import unknown
from .features import FEATURES, Feature, clipped

#: what stands between the two names of a product
SIGN = "*"

_SOURCE = """def product(state, record):
    return clipped(first(state, record), {a.low!r}, {a.high!r}, {a.shift!r}, {a.scale!r}) * clipped(
        second(state, record), {b.low!r}, {b.high!r}, {b.shift!r}, {b.scale!r})
"""


def known(name: object) -> bool:
    """Whether there is a feature or a product of this name."""
    return isinstance(name, str) and all(part in FEATURES for part in parts(name))


def parts(name: str) -> tuple[str, ...]:
    """The names of a product's two features, or the name itself."""
    found = tuple(part.strip() for part in name.split(SIGN))
    return found if len(found) == 2 else (name,)


def named(name: object, kind: str = "feature") -> Feature:
    """The feature called `name`, or the product of two.

    ValueError for an unknown name, which names the nearest; `kind` is what the message calls it.
    """
    if not isinstance(name, str):
        raise options.refuse(kind, "one of " + ", ".join(FEATURES), name)
    if name.count(SIGN) > 1:
        raise OptionError(f"{kind} {shown(name)}: a product has two features")
    if not known(name):
        missing = next(part for part in parts(name) if part not in FEATURES)
        raise unknown(kind, missing, FEATURES)
    found = [FEATURES[part] for part in parts(name)]
    return found[0] if len(found) == 1 else product(*found)


def same(name: str) -> tuple[str, ...]:
    """What two names of one product have in common."""
    return tuple(sorted(parts(name)))


@functools.cache
def product(a: Feature, b: Feature) -> Feature:
    """The product of two features; its text holds numbers of their table alone."""
    names = {"__name__": __name__, "clipped": clipped, "first": a.fn, "second": b.fn}
    exec(compile(_SOURCE.format(a=a, b=b), "<stepsmith product>", "exec"), names)
    fn = names["product"]
    fn.__doc__ = f"{a.name} times {b.name}, both scaled."
    ends = [x * y for x in a.bounds for y in b.bounds]
    return Feature(
        f"{a.name}{SIGN}{b.name}", max(a.tier, b.tier), fn, min(ends), max(ends), 0.0, 1.0,  # type: ignore[arg-type]
        a.slots | b.slots, a.own or b.own, (a, b),
    )  # fmt: skip
