"""A family from one problem and what varies in it: what a fair comparison fixes in advance is found by a few solves,
and said.

`family` draws some instances, and measures on them (`probe`) what `integrators.problems.families.Family` must know: how
large the components are (the absolute tolerance), whether an implicit method is the cheaper one (stiffness), which
tolerances give errors about the wanted one, how small a state may become before a relative error of it means nothing
(the floor), and whether references pass their self-check.  All of it is printed, kept on disk, and can be given
instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...integrators.checks import rhs_check
from ...integrators.compile.cache import cache_dir, function_key
from ...integrators.core import options
from ...integrators.core.errors import OptionError, refuse
from ...integrators.problems.families import ERRORS, Family
from ...integrators.problems.problem import Batch, Problem
from ...integrators.problems.vary import varied
from .probe import PROBES, VERSION, Probe, Protocol


def family(
    problem: Problem,
    vary: Mapping[str, Any] | None = None,
    *,
    sampler: Callable[[np.random.Generator, int], Batch] | None = None,
    name: str | None = None,
    doc: str = "",
    span: tuple[float, float] | None = None,
    wanted_error: float = 1e-6,
    error: str = "grid",
    n_out: int = 32,
    components: Sequence[int] | None = None,
    stiff: bool | None = None,
    method: str | None = None,
    levels: tuple[float, float] | None = None,
    tolerances: Sequence[float] | None = None,
    atol_factor: float | None = None,
    floor: float | None = None,
    quiet: bool = False,
) -> Family:
    """A family of a caller's own: instances of `problem` in which something varies.

    problem: an instance, also the one that `make` gives.  vary: which numbers vary and how they are drawn
    (`problems.vary`), or sampler: `sampler(rng, count) -> Batch`; one of the two.  name: the family's (default: the
    problem's, or its right-hand side's).  span: (t0, t1) in place of the problem's.  wanted_error: the relative error
    that results are to have, in (0, 1). error: "grid", the largest relative error at n_out >= 32 output times; "final",
    at the end; "energy", of the invariant of that name. components: of the state, that errors are taken over; None:
    all. stiff, method, levels, tolerances, atol_factor, floor: as in `Family`; None: found on PROBES instances, and
    printed unless `quiet`. What was found is kept on disk, under everything that it depends on.

    Raises OptionError where an argument does not fit, and where the instances cannot be solved or have no references:
    the message says what was tried.
    """
    if not isinstance(problem, Problem):
        raise refuse("problem", "a stepsmith.Problem", problem)
    rhs_check.check_compiled(problem.rhs)
    if problem.mass is not None:
        raise OptionError(
            "problem has a mass matrix: families are compared with reference solvers, which solve y' = f; solve and "
            "solve_ensemble take one, with an implicit method"
        )
    wanted_error = options.number("wanted_error", wanted_error, above=0.0, below=1.0)
    options.choice("error", error, ERRORS)
    if span is not None:
        problem = dataclasses.replace(problem, t_span=span)
    if vary is not None and sampler is None:
        sampler = varied(problem, vary)
    elif sampler is None or vary is not None:
        raise OptionError(
            'say what varies: either vary, such as {"p[0]": (low, high)}, or sampler, a function of rng and count'
        )
    label = name or (problem.name if problem.name != "user" else getattr(problem.rhs, "__name__", "user"))
    draft = Family(
        options.text("name", label), doc or f"instances of {label}", problem.rhs, problem.n, problem.m,
        sampler, lambda: problem,
        error=error, n_out=n_out, components=None if components is None else tuple(components),
        wanted_error=wanted_error,
    )  # fmt: skip
    given = {
        "stiff": stiff, "method": method, "levels": None if levels is None else tuple(map(float, levels)),
        "tolerances": None if tolerances is None else tuple(map(float, tolerances)), "atol_factor": atol_factor,
        "floor": floor,
    }  # fmt: skip
    found = _kept(draft, given)
    if not quiet:
        print("\n".join([f"family {label}:", *(f"  {line}" for line in found.said)]), file=sys.stderr)
    return dataclasses.replace(draft, **{k: v for k, v in vars(found).items() if k != "said"}, said=found.said)


def _kept(draft: Family, given: Mapping[str, Any]) -> Protocol:
    """The protocol of a draft, from disk where the same was asked before."""
    batch = draft.split("train", PROBES)
    digest = hashlib.sha256(repr((VERSION, function_key(draft.rhs), sorted(given.items()))).encode())
    digest.update(repr((draft.error, draft.n_out, draft.components, draft.wanted_error, draft.name)).encode())
    for array in (batch.y0, batch.p, batch.t0, batch.t1):
        digest.update(array.tobytes())
    path = cache_dir().parent / "families" / f"{draft.name}-{digest.hexdigest()[:16]}.json"
    try:
        return Protocol.from_json(json.loads(path.read_text()))
    except (OSError, ValueError):
        pass  # none yet, or one of another version
    found = Probe(draft, batch, given).protocol()
    _write(path, found)
    return found


def _write(path: Path, found: Protocol) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{time.time_ns()}.tmp")
        aside.write_text(json.dumps(found.to_json(), indent=1))
        aside.replace(path)
    except OSError:
        pass  # it is measured again next time


