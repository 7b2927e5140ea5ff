"""What the stiff families share: factors drawn log-uniformly, mass-action source text.

Semi-discretised equations interleave their fields cell by cell (u_0 v_0 u_1 v_1 ...), which keeps the Jacobian's band
narrow.
"""

from __future__ import annotations

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
