"""Batches from a person's own problems: from a list of them, and from one of them with numbers that vary.

    Batch.of([make(k) for k in rates])                  problem.batch(p=..., y0=..., t1=...)
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.errors import OptionError, refuse, shown
from ..core.names import unknown
from . import mass as masses
from . import sparsity
from .problem import Batch, Problem

#: fields of a Problem that may differ within a batch, or are labels
_OWN = ("rhs", "jac", "accel", "invariants", "y0", "p", "t_span", "name", "family", "sparsity", "mass",
        "spectral_radius")  # fmt: skip


def given_batch(given: Any) -> Batch:
    """What the entry points take for a batch, as one: itself, one Problem, or a list, tuple or iterator of Problems.

    OptionError for anything else, and what `of` raises.
    """
    if isinstance(given, Batch):
        return given
    if isinstance(given, Problem):
        return given.batch()
    if isinstance(given, (list, tuple, Iterator)):
        return of(given)
    raise refuse("batch", "a Batch, a Problem or a list of Problems", given)


def of(problems: Iterable[Problem]) -> Batch:
    """`Batch.of`: the Problems, which must be of one kind, as one Batch."""
    if isinstance(problems, Problem):
        raise OptionError("Batch.of takes a list of Problems; problem.batch() makes a Batch of one")
    if not isinstance(problems, Iterable):
        raise refuse("problems", "a list of Problems", problems)
    given = list(problems)
    if not given:
        raise OptionError("Batch.of needs at least one Problem, got none")
    for i, problem in enumerate(given):
        if not isinstance(problem, Problem):
            raise OptionError(f"Batch.of takes Problems, but number {i} is {shown(problem)}")
    first = given[0]
    for i, problem in enumerate(given):
        _check_alike(first, problem, i)
    alike = _with_one_rhs(given)
    one = alike[0].batch()
    spans = np.array([problem.t_span for problem in alike])
    arrays: dict[str, Any] = {
        "y0": np.stack([problem.y0 for problem in alike]),
        "p": np.stack([problem.p for problem in alike]),
        "t0": spans[:, 0].copy(),
        "t1": spans[:, 1].copy(),
    }
    labels = {
        "name": first.name if all(problem.name == first.name for problem in given) else "user",
        "family": first.family if all(problem.family == first.family for problem in given) else None,
    }
    if one.m != first.m and getattr(one, "names", None) is not None:
        labels["names"] = None  # captured numbers have joined p, and have no names there
    batch = object.__new__(Batch)  # every Problem was checked when it was made
    vars(batch).update(vars(one), **arrays, **labels)
    return batch


def _check_alike(first: Problem, problem: Problem, i: int) -> None:
    """OptionError, naming the first field that differs, where Problem number i cannot share a kernel with number 0."""
    if problem is first:
        return
    for what, own, other in (
        ("dimension of y0", problem.n, first.n),
        ("number of parameters", problem.m, first.m),
        *((f.name, getattr(problem, f.name), getattr(first, f.name)) for f in _SHARED),
    ):
        if own is not other and not _equal(other, own):
            raise _differs(i, what, f"{shown(own)} against {shown(other)}")
    if problem.sparsity is not first.sparsity and sparsity.key(problem.sparsity) != sparsity.key(first.sparsity):
        raise _differs(i, "sparsity", "another pattern of the Jacobian")
    if masses.key(problem.mass) != masses.key(first.mass):
        raise _differs(i, "mass", "another mass matrix")
    for what in ("jac", "accel"):
        one, two = getattr(first, what), getattr(problem, what)
        if not _same(one, two):
            raise _differs(i, what, _difference(one, two))
    one, two = first.spectral_radius, problem.spectral_radius
    if not (_same(one, two) if callable(one) and callable(two) else _equal(one, two)):
        raise _differs(i, "spectral_radius", _difference(one, two) if callable(one) and callable(two) else
                       f"{shown(two)} against {shown(one)}")
    if problem.invariants is not first.invariants:
        if problem.invariants.keys() != first.invariants.keys():
            raise _differs(i, "invariants", f"{sorted(problem.invariants)} against {sorted(first.invariants)}")
        for name, invariant in first.invariants.items():
            if not _same(invariant, problem.invariants[name], refuses=False):
                raise _differs(i, f"invariant {name!r}", _difference(invariant, problem.invariants[name]))


_SHARED = [f for f in dataclasses.fields(Problem) if f.name not in _OWN]


def _differs(i: int, what: str, how: str) -> OptionError:
    return OptionError(f"a batch holds problems of one kind, but number {i} differs from number 0 in its {what}: {how}")


def _with_one_rhs(problems: list[Problem]) -> list[Problem]:
    """The Problems with one right-hand side: as they are, or with the floats that their closures capture moved to p."""
    first = problems[0]
    if all(_same(first.rhs, problem.rhs) for problem in problems):
        return problems
    from ..compile.prepared import moved_to_p

    moved = [moved_to_p(problem) for problem in problems]
    for i, problem in enumerate(moved):
        if problem.m != moved[0].m or not _same(moved[0].rhs, problem.rhs):
            one, two = moved[0].rhs, problem.rhs  # without the captured floats that do not matter
            if getattr(one, "__code__", None) != getattr(two, "__code__", None):
                one, two = first.rhs, problems[i].rhs
            lifts = first.jac is None and first.accel is None and first.nbody is None
            raise _differs(i, "rhs", _difference(one, two, lifts))
    return moved


def _same(a: Callable | None, b: Callable | None, refuses: bool = True) -> bool:
    """Whether two functions compute the same: one object, or of one key (`compile.digest`).  refuses: what the digest
    refuses is an error, as it is in a solve; else it counts as different.
    """
    if a is b:
        return True
    if a is None or b is None:
        return False
    from ..compile import digest

    try:
        return digest.identity(a) == digest.identity(b)
    except digest.UndigestibleError:
        if refuses:
            raise
        return False


def _difference(a: Any, b: Any, lifts: bool = False) -> str:
    """In what two functions that compute different things differ: captured values of one code, or the code.  lifts:
    whether captured floats would have been moved to p.
    """
    if a is None or b is None:
        return f"{_named(b)} against {_named(a)}"
    plain, other = getattr(a, "py_func", a), getattr(b, "py_func", b)
    if not isinstance(plain, types.FunctionType) or getattr(other, "__code__", None) != plain.__code__:
        return f"{_named(b)} against {_named(a)}, another function"
    from ..compile.watch import cell_content

    captured = [*zip(plain.__code__.co_freevars, plain.__closure__ or (), other.__closure__ or (), strict=True)]
    for name, cell, other_cell in captured:
        one, two = cell_content(cell), cell_content(other_cell)
        if type(one) is not type(two) or not _equal(one, two):
            remedy = _remedy(one, two, lifts)
            return f"{_named(b)} captures {name} = {shown(two, 40)} against {shown(one, 40)}; {remedy}"
    if plain.__defaults__ != other.__defaults__:
        return f"{_named(b)} has defaults {shown(other.__defaults__)} against {shown(plain.__defaults__)}: use p"
    return f"{_named(b)} against {_named(a)}: what they name differs"


def _remedy(one: Any, two: Any, lifts: bool) -> str:
    """What to do about a captured value that is `one` here and `two` there."""
    if not lifts:
        return "pass what varies in p"
    if int in (type(one), type(two)):
        return "a whole number is a constant of the code: make it a float in every problem, or pass it in p"
    return (
        "only floats that a function whose source is at hand calculates with, not those that decide a branch, an "
        "exponent or an index, may differ: pass what varies in p"
    )


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)
    except Exception:
        return a is b


def _named(fn: Any) -> str:
    return "none" if fn is None else getattr(fn, "__qualname__", type(fn).__name__)


def varied_batch(problem: Problem, p: Any = None, y0: Any = None, t_span: Any = None, t1: Any = None) -> Batch:
    """`Problem.batch`: the problem with other numbers, as many instances as the arguments hold."""
    one = problem.batch()
    if t_span is not None and t1 is not None:
        raise OptionError("t_span and t1 are both given: t_span holds t1 already")
    rows: dict[str, np.ndarray] = {}
    if p is not None:
        rows["p"] = _by_name(problem, p) if isinstance(p, Mapping) else _rows("p", p, problem.m, "one parameter")
    if y0 is not None and problem.state is not None:
        shape = np.shape(y0)
        lead = shape[: len(shape) - len(problem.state.shape)]
        if shape[len(lead) :] != problem.state.shape or len(lead) > 1:
            raise OptionError(f"y0 must have shape {problem.state.shape} or (B, ...) of it, got shape {shape}")
        rows["y0"] = problem.state.flat(y0)
    elif y0 is not None:
        rows["y0"] = _rows("y0", y0, problem.n, "a state of one number")
    if t_span is not None:
        rows["t_span"] = _rows("t_span", t_span, 2)
    if t1 is not None:
        rows["t1"] = _numbers("t1", t1)
        if rows["t1"].ndim > 1:
            raise OptionError(f"t1 must be a number or have shape (B,), got shape {rows['t1'].shape}")
    count = _count({name: len(v) for name, v in rows.items() if v.ndim > (name != "t1")})
    span = rows.pop("t_span", None)
    if span is not None:
        rows["t0"], rows["t1"] = span[..., 0], span[..., 1]
    changed: dict[str, Any] = {
        name: np.broadcast_to(rows.get(name, getattr(one, name)[0]), (count, *getattr(one, name).shape[1:]))
        for name in ("p", "y0", "t0", "t1")
    }
    return dataclasses.replace(one, **changed, validate=y0 is not None)


def _count(lengths: dict[str, int]) -> int:
    """How many instances there are; `lengths`: of the arguments that hold one row an instance."""
    names = list(lengths)
    for name in names[1:]:
        if lengths[name] != lengths[names[0]]:
            raise OptionError(f"{names[0]} holds {lengths[names[0]]} instances, {name} holds {lengths[name]}")
    return lengths[names[0]] if names else 1


def _numbers(name: str, value: Any) -> np.ndarray:
    """`value` as float64, of any shape."""
    try:
        raw = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged, or an object that refuses to become an array
        raise refuse(name, "real numbers in a rectangular array", value) from None
    if raw.dtype.kind not in "fiub":
        raise refuse(name, "real numbers in a rectangular array", value)
    return raw.astype(np.float64)


def _rows(name: str, value: Any, width: int, single: str = "") -> np.ndarray:
    """`value`, which must be (width,) or (B, width), as float64."""
    raw = _numbers(name, value)
    if raw.ndim not in (1, 2) or raw.shape[-1] != width:
        hint = ""
        if single and raw.ndim == width == 1:
            hint = f"; for {single} and {raw.size} instances write {name}[:, None]"
        raise OptionError(f"{name} must have shape ({width},) or (B, {width}), got shape {raw.shape}{hint}")
    return raw


def _by_name(problem: Problem, values: Mapping[str, Any]) -> np.ndarray:
    """Parameters by name, each a number or (B,), as (m,) or (B, m); those that are not named keep their values."""
    names = getattr(problem, "names", None)
    if names is None:
        raise OptionError(f"p by name needs a problem whose parameters have names; {problem.name!r} has none")
    columns: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if name not in names:
            raise OptionError(f"p: {unknown('parameter', name, names)}")
        columns[name] = _numbers(f"p[{name!r}]", value)
        if columns[name].ndim > 1:
            raise OptionError(f"p[{name!r}] must be a number or have shape (B,), got shape {columns[name].shape}")
    sizes = {f"p[{name!r}]": len(column) for name, column in columns.items() if column.ndim}
    p = np.tile(problem.p, (_count(sizes), 1)) if sizes else problem.p.copy()
    for name, column in columns.items():
        p[..., list(names).index(name)] = column
    return p
