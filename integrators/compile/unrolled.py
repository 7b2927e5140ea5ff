"""Right-hand sides that use small arrays, as straight-line code on numbers.

A function around a person's own (`problems.styles`) copies y into an array, and the answer out of one: some tenths of a
microsecond a call, and nothing that lanes can share.  Where the person's function does the same operations at every
call, running it once on symbols (`symbolic`) gives those operations, as a function of the solvers' own form.  It is
run twice, and used only where both runs agree, and where the operations give what the function gives (`traced_check`):
a function that draws random numbers, counts its calls or asks for types is left alone.

The values of what the function names (globals, what it closes over) become constants of the code; they are looked at
again at every solve (`digest.watched`).  Floats that it closes over may become further parameters instead, so that
closures that differ in a number share one kernel, as those of the solvers' own form do (`lift`).
"""

from __future__ import annotations

import math
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..problems.problem import Batch, Problem
from ..problems.styles import Style, arguments, blank, finished, style_of
from . import vecmath
from .digest import UndigestibleError, watched
from .symbolic import Graph, Symbol, Untraceable
from .traced_check import hides_or_keeps, same_values
from .watch import Watch, cell_content

Source = TypeVar("Source", Problem, Batch)
#: larger states are compiled as arrays: that is shorter to compile, and their loops are fast
MOST_COMPONENTS = 64

#: by function, and by where captured floats stand in p: what was watched, the function, the floats
_KNOWN: weakref.WeakKeyDictionary[Any, dict[int | None, tuple[Watch, Any, list[float]]]] = weakref.WeakKeyDictionary()


def unrolled(source: Source, lift: bool = False) -> Source:
    """`source`, or a copy whose functions are straight-line code, where theirs use arrays and can be written so.

    lift: let them read the floats that they close over from p, behind the problem's own parameters.
    """
    changed: dict[str, Any] = {}
    more: list[float] = []
    for role in ("rhs", "jac"):
        fn = getattr(source, role)
        style = style_of(fn)
        if style is not None and style.compiled and style.n <= MOST_COMPONENTS:
            found, values = _straight(fn, style, source.m + len(more) if lift else None, _state_of(source))
            if found is not None:
                changed[role] = found
                more += values
    if not changed:
        return source
    if more:
        rows = np.broadcast_to(np.array(more), (*source.p.shape[:-1], len(more)))
        changed["p"] = np.ascontiguousarray(np.concatenate([source.p, rows], axis=-1))
    copy = object.__new__(type(source))
    vars(copy).update(vars(source), **changed)
    return copy


#: time, state (n,) and parameters (m,)
At = tuple[float, np.ndarray, np.ndarray]


def straight_text(fn: Any, style: Style, at: At) -> str | None:
    """Source of `written(t, y, p, out)` in straight lines, which names `math` and functions of `vecmath`; None where
    there is none.  at: where it is compared with the person's function.
    """
    small = style.role in ("rhs", "jac") and style.n <= MOST_COMPONENTS
    made: Any = _straight(fn, style, None, at)[0] if small else None
    return None if made is None else made.stepsmith_text


def _state_of(source: Problem | Batch) -> At:
    """A state to compare at: the start of the problem, or of the first instance."""
    if isinstance(source, Problem):
        return source.t_span[0], source.y0, source.p
    if not len(source):
        return 0.0, np.zeros(source.n), np.zeros(source.m)
    return float(source.t0[0]), source.y0[0], source.p[0]


def _straight(fn: Any, style: Style, place: int | None, at: At) -> tuple[Callable[..., Any] | None, list[float]]:
    """The straight-line function, None where there is none, and values that it reads from p[place] on.  at: where it
    is compared with the person's function.
    """
    known = _KNOWN.setdefault(fn, {}).get(place)
    if known is not None and known[0].same():
        return known[1:]
    try:
        watch = watched(fn)[1]
    except UndigestibleError:  # the compiler's caller says so
        return None, []
    text: str | None = None
    values: list[float] = []
    if place is not None:
        text, values = _text(style, fn.stepsmith_form, place)
    if text is None:
        text, values = _text(style, fn.stepsmith_form, None)
    names = {k: getattr(vecmath, k) for k in ("exp", "log", "sin", "cos", "tanh", "sqrt", "atan", "fabs")}
    made: Any = None if text is None else finished(style, text, {"math": math, **names})
    if made is not None and not same_values(made, style, fn.stepsmith_form, _behind(style, place, values), at):
        made, values = None, []
    if made is not None:
        made.stepsmith_text = text
    _KNOWN[fn][place] = watch, made, values
    return made, values


def _behind(style: Style, place: int | None, values: list[float]) -> list[float]:
    """What stands in p behind the problem's own parameters; zeros for what another function reads."""
    return [] if place is None else [0.0] * (place - style.m) + values


def _text(style: Style, form: str, place: int | None) -> tuple[str | None, list[float]]:
    """Source of the straight-line function, None where there is none, and the values that it reads from p[place] on."""
    if style.state is not None and style.state.is_complex:
        return None, []
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first, second = _once(style, form, place), _once(style, form, place)
    except Exception:  # Untraceable, or what NumPy says of objects where it wants numbers
        return None, []
    return first if first == second else (None, [])


def _once(style: Style, form: str, place: int | None) -> tuple[str, list[float]]:
    graph = Graph()
    fn, every = _stand_ins(style.fn)
    if hides_or_keeps(every):
        raise Untraceable("it catches exceptions, or keeps something between calls")
    values = _lifted(graph, fn, place) if place is not None else []
    t = graph.node("t")
    y = _objects([graph.node(f"y[{i}]") for i in range(style.n)])
    p = _objects([graph.node(f"p[{i}]") for i in range(style.m)])
    args = [t, _shaped(style, y), *arguments(style, form, p)]
    if "fill" in form:
        filled = _objects(blank(style).ravel().tolist()).reshape(blank(style).shape)
        fn(*args, filled)
        answer: Any = filled
    else:
        answer = fn(*args)
    flat = np.array(answer, dtype=object).ravel().tolist()
    if len(flat) != (style.n * style.n if style.role == "jac" else style.n):
        raise Untraceable("another number of values")
    lines, results = graph.lines([float(v) if isinstance(v, np.bool_) else v for v in flat])
    if style.role == "jac":
        places = [f"out[{i}, {j}]" for i in range(style.n) for j in range(style.n)]
    else:
        places = [f"out[{i}]" for i in range(style.n)]
    body = [*lines, *(f"{at} = {value}" for at, value in zip(places, results, strict=True))]
    return "def written(t, y, p, out):\n" + "".join(f"    {line}\n" for line in body), values


def _lifted(graph: Graph, fn: Any, place: int) -> list[float]:
    """Put parameters from p[place] on in place of the floats that `fn` closes over; their values."""
    values: list[float] = []
    for cell in fn.__closure__ or ():
        content = cell_content(cell)
        if type(content) in (float, np.float64):
            cell.cell_contents = graph.node(f"p[{place + len(values)}]")
            values.append(float(content))
    return values


def _objects(values: list[Any]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _shaped(style: Style, y: np.ndarray) -> Any:
    if style.state is None:
        return y
    return y.reshape(style.state.shape)[()] if style.state.shape else y[0]


def _stand_ins(fn: Any) -> tuple[Callable[..., Any], list[Callable[..., Any]]]:
    """The function in plain Python, with `math` and those of NumPy's functions that make arrays replaced by ones that
    take symbols; and all functions that it reaches.
    """
    from ..checks.interpreted import interpreted

    done: dict[int, Callable[..., Any]] = {}
    copy = interpreted(fn, done)
    for one in done.values():
        for name, value in list(one.__globals__.items()):
            one.__globals__[name] = _replaced(value)
        for cell in one.__closure__ or ():
            try:
                cell.cell_contents = _replaced(cell.cell_contents)
            except ValueError:  # not filled yet
                pass
    return copy, list(done.values())


def _math(name: str) -> Callable[..., Any]:
    plain = getattr(math, name)
    method = _METHODS.get(name, name)

    def stand_in(x: Any, *more: Any) -> Any:
        if not any(isinstance(v, Symbol) for v in (x, *more)):
            return plain(x, *more)
        if name == "pow":
            return x ** more[0]
        if isinstance(x, Symbol) and hasattr(x, method):
            return getattr(x, method)(*more)
        raise Untraceable(f"math.{name} of a symbol")

    return stand_in


#: what NumPy calls the functions of `math` that it names otherwise
_METHODS = {f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")}
_MATH = {name: _math(name) for name in dir(math) if callable(getattr(math, name))}


def _making(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes an array, of objects now: symbols can be put into it."""

    def stand_in(*args: Any, dtype: Any = None, **more: Any) -> Any:
        if dtype not in (None, float, np.float64):
            raise Untraceable("an array of another type")
        made = plain(*args, **more)
        if made.dtype not in (np.dtype(float), np.dtype(object)):  # what is written into it would be rounded
            raise Untraceable("an array of another type")
        return made.astype(object)

    return stand_in


def _converting(plain: Callable[..., Any]) -> Callable[..., Any]:
    """`np.array`, which copies, or `np.asarray`, which hands back an array that it is given."""

    def stand_in(value: Any, dtype: Any = None, **more: Any) -> Any:
        if dtype not in (None, float, np.float64):
            raise Untraceable("an array of another type")
        if not _symbols(value):
            return plain(value, dtype=dtype, **more)
        if more:
            raise Untraceable("an array with options")
        return plain(value, dtype=object)

    return stand_in


def _refused(*args: Any, **more: Any) -> Any:
    raise Untraceable("a function that leaves arrays of objects as they are")


def _symbols(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_symbols, value))
    return isinstance(value, Symbol) or (isinstance(value, np.ndarray) and value.dtype == object)


_NUMPY = {name: _making(getattr(np, name)) for name in ("zeros", "empty", "ones", "full", "zeros_like", "empty_like",
                                                         "ones_like")}  # fmt: skip
_NUMPY |= {"array": _converting(np.array), "asarray": _converting(np.asarray), "nan_to_num": _refused}


class _Module(types.ModuleType):
    def __init__(self, plain: types.ModuleType, changed: dict[str, Any]) -> None:
        super().__init__(plain.__name__)
        self.__dict__.update(plain.__dict__, **changed)


_MODULES = {id(math): _Module(math, _MATH), id(np): _Module(np, _NUMPY)}
_SINGLE = {id(getattr(math, k)): v for k, v in _MATH.items()} | {id(getattr(np, k)): v for k, v in _NUMPY.items()}


def _replaced(value: Any) -> Any:
    if isinstance(value, types.ModuleType):
        return _MODULES.get(id(value), value)
    return _SINGLE.get(id(value), value) if callable(value) else value
