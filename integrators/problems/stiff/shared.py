"""What the stiff families share: factors drawn log-uniformly, mass-action source text, functions that come in sizes.

Semi-discretised equations interleave their fields cell by cell (u_0 v_0 u_1 v_1 ...), which keeps the Jacobian's band
narrow.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pair = tuple[Callable[..., None], Callable[..., None]]


def spread(rng: np.random.Generator, centre: Sequence[float] | np.ndarray, factor: float, n: int) -> np.ndarray:
    """`n` rows (n, len(centre)), each value log-uniform between centre/factor and centre*factor."""
    span = np.log(factor)
    return np.asarray(centre, float) * np.exp(rng.uniform(-span, span, (n, len(centre))))


def log_uniform(rng: np.random.Generator, lo: float, hi: float, n: int) -> np.ndarray:
    """`n` values (n,), log-uniform in lo..hi."""
    return np.exp(rng.uniform(np.log(lo), np.log(hi), n))


def mass_action(species: int, reactions: Sequence[tuple[tuple[int, ...], dict[int, int]]], module: str) -> Pair:
    """`rhs` and `jac` of reactions with rates p[r] * product of reactants, as functions of `module`.

    reactions: (reactants, net changes), both by species number counted from 1; reaction r has rate constant p[r].
    Written out as straight-line source, which vectorises across lanes.
    """
    rates = [" * ".join([f"p[{r}]", *(f"y[{s - 1}]" for s in who)]) for r, (who, _) in enumerate(reactions)]
    rhs = ["def rhs(t, y, p, dy):"] + [f"    r{r} = {rate}" for r, rate in enumerate(rates)]
    jac = ["def jac(t, y, p, J):"]
    for r, (who, _) in enumerate(reactions):
        for k, s in enumerate(who):  # a species that reacts with itself gets one term for each of its places
            rest = " * ".join([f"p[{r}]", *(f"y[{o - 1}]" for j, o in enumerate(who) if j != k)])
            jac += [f"    d{r}_{s} = {rest}" if s not in who[:k] else f"    d{r}_{s} = d{r}_{s} + {rest}"]
    for s in range(1, species + 1):
        terms = [(change[s], r) for r, (_, change) in enumerate(reactions) if s in change]
        rhs += [f"    dy[{s - 1}] = " + (" + ".join(f"{c:.1f} * r{r}" for c, r in terms) or "0.0")]
        for q in range(1, species + 1):
            part = [f"{c:.1f} * d{r}_{q}" for c, r in terms if q in reactions[r][0]]
            jac += [f"    J[{s - 1}, {q - 1}] = " + (" + ".join(part) or "0.0")]
    return _compiled("rhs", rhs, module), _compiled("jac", jac, module)


def _compiled(name: str, lines: list[str], module: str) -> Callable[..., None]:
    text, filename = "\n".join(lines) + "\n", f"<{module}.{name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(text, filename, "exec"), namespace)
    return namespace[name]


def sized(build: Callable[[int], Pair]) -> Callable[[int], Pair]:
    """`build(cells) -> (rhs, jac)`, one pair a size, picklable by the names rhs_<cells> and jac_<cells> (see
    `by_name`).
    """

    @functools.cache
    def system(cells: int) -> Pair:
        if not isinstance(cells, (int, np.integer)) or cells < 3:
            raise ValueError(f"cells must be a whole number, at least 3, got {cells!r}")
        pair = build(int(cells))
        for label, fn in zip(("rhs", "jac"), pair, strict=True):
            fn.__name__ = fn.__qualname__ = f"{label}_{cells}"
        return pair

    return system


def by_name(system: Callable[[int], Pair], module: str, name: str) -> Callable[..., None]:
    """A module's `__getattr__`: the function called rhs_<cells> or jac_<cells>. AttributeError for other names."""
    label, _, cells = name.partition("_")
    if label not in ("rhs", "jac") or not cells.isdigit():
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return system(int(cells))[label == "jac"]
