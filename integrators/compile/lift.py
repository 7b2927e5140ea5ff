"""Numbers that a right-hand side closes over, as parameters: closures that differ in a number share one kernel.

    def decay(rate):
        def rhs(t, y, p, dy):
            dy[0] = -rate*y[0]
        return rhs

Compiled as it stands, every `decay(rate)` is a kernel of its own: seconds of compilation and some twenty megabytes that
LLVM does not give back.  Here `rate` becomes an entry of p behind the problem's own, and all of them are one function.
That is done from the function's source, where it is at hand and still the one that runs (its code is compared), for
floats that are only calculated with.  A number that decides a branch, an exponent, a loop or an index stays a constant
of the code; so does everything where `p` is used other than as `p[<number>]`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..problems.problem import Batch, Problem
from .cache import Recent
from .sources import PACKAGE

Source = TypeVar("Source", Problem, Batch)

#: nodes below which a number may decide what is computed, or is another scope's
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
_FLAGS = 0x1FF0000  # future imports

_CODES = Recent(256)
_FUNCTIONS = Recent(256)


def lifted(source: Source) -> Source:
    """`source`, or a copy whose right-hand side reads the floats that it closes over from p, behind the problem's own
    parameters.
    """
    rhs = source.rhs
    if (
        getattr(rhs, "__closure__", None) is None
        or source.jac is not None
        or source.accel is not None
        or source.nbody is not None
    ):
        return source
    found = _lift(rhs, source.m)
    if found is None:
        return source
    fn, values = found
    more = np.array(values)
    p = (
        np.concatenate([source.p, more])
        if isinstance(source, Problem)
        else np.hstack([source.p, np.tile(more, (len(source), 1))])
    )
    copy = object.__new__(type(source))
    vars(copy).update(vars(source), rhs=fn, p=np.ascontiguousarray(p))
    return copy


#: by a function's identity and m: the function, types of what it captures, its code, the shared function or None, the
#: cells that it lifts
_KNOWN = Recent(256)


def _lift(fn: Any, m: int) -> tuple[Callable, list[float]] | None:
    """The shared function and the values of its further parameters, as they are now; None where there is nothing to
    lift.
    """
    if not isinstance(fn, types.FunctionType) or (fn.__module__ or "").split(".")[0] == PACKAGE:
        return None
    if fn.__defaults__ or fn.__kwdefaults__:  # a closure's own too
        return None
    try:
        kinds = [type(cell.cell_contents) for cell in fn.__closure__ or ()]
    except ValueError:  # an empty cell
        return None
    entry = _KNOWN.get((id(fn), m))
    if entry is None or entry[0]() is not fn or entry[1] != kinds or entry[2] is not fn.__code__:
        entry = weakref.ref(fn), kinds, fn.__code__, *_made(fn, m, kinds)
        _KNOWN[id(fn), m] = entry
    made, cells = entry[3:]
    return None if made is None else (made, [float(cell.cell_contents) for cell in cells])


def _made(fn: types.FunctionType, m: int, kinds: list[type]) -> tuple[Callable | None, list[types.CellType]]:
    free = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    floats = tuple(name for name, kind in zip(free, kinds, strict=True) if kind in (float, np.float64))
    if not floats:
        return None, []
    found = _CODES.made((fn.__code__, m, floats), lambda: (_rewritten(fn, m, floats),))[0]
    if found is None:
        return None, []
    names, code = found
    cells = tuple(free[name] for name in code.co_freevars)
    # closures over numbers alone are one function; what else a function closes over stays its own
    made = (
        _function(fn, code, cells)
        if cells
        else _FUNCTIONS.made((code, id(fn.__globals__)), lambda: _function(fn, code, ()))
    )
    return made, [free[name] for name in names]


def _function(fn: types.FunctionType, code: types.CodeType, cells: tuple) -> types.FunctionType:
    made = types.FunctionType(code, fn.__globals__, fn.__name__, None, cells or None)
    made.__module__, made.__qualname__, made.__doc__ = fn.__module__, fn.__qualname__, fn.__doc__
    return made


def _rewritten(
    fn: types.FunctionType, m: int, floats: tuple[str, ...]
) -> tuple[tuple[str, ...], types.CodeType] | None:
    """Names that can be lifted and the code that reads them from p; None where there are none or the source is not that
    of `fn`.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    node = tree.body[0] if tree.body else None
    if not isinstance(node, ast.FunctionDef) or node.name != fn.__name__ or len(node.args.args) < 4:
        return None
    node.decorator_list, node.args.defaults, node.args.kw_defaults = [], [], [None] * len(node.args.kwonlyargs)
    if not _same_code(_compiled(node, fn), fn.__code__):
        return None
    p = node.args.args[2].arg
    inner = [n for statement in node.body for n in ast.walk(statement)]
    if any(isinstance(n, (*_SCOPES, ast.Nonlocal, ast.Global)) for n in inner) or not _plain_use(node, p, m):
        return None
    names = tuple(name for name in floats if _only_calculated(node, name))
    if not names:
        return None
    new = _compiled(_Lift(p, {name: m + k for k, name in enumerate(names)}).visit(node), fn)
    return None if new is None else (names, new)


def _compiled(node: ast.FunctionDef, fn: types.FunctionType) -> types.CodeType | None:
    """Code of the function inside a factory that has its free variables."""
    free = [name for name in fn.__code__.co_freevars]
    arguments = ast.arguments([], [ast.arg(name) for name in free], None, [], [], None, [])
    outer = ast.FunctionDef("factory", arguments, [node], [], None, None)
    if hasattr(outer, "type_params"):
        outer.type_params = []
    module = ast.fix_missing_locations(ast.Module([outer], []))
    try:
        code = compile(module, fn.__code__.co_filename, "exec", flags=fn.__code__.co_flags & _FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    for name in ("factory", node.name):
        code = next((c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name), code)
    return code if code.co_name == node.name else None


def _same_code(a: types.CodeType | None, b: types.CodeType) -> bool:
    def parts(c: types.CodeType) -> tuple:
        constants = [(type(v).__name__, repr(v)) for v in c.co_consts]
        return c.co_code, constants, c.co_names, c.co_varnames, c.co_freevars, c.co_cellvars, c.co_argcount

    return a is not None and parts(a) == parts(b)


def _plain_use(node: ast.FunctionDef, p: str, m: int) -> bool:
    """Whether `p` is only ever read as p[i] with a number i below m."""
    indexed = 0
    for n in ast.walk(node):
        if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and n.value.id == p:
            i = n.slice.value if isinstance(n.slice, ast.Constant) else None
            if type(i) is not int or not 0 <= i < m or not isinstance(n.ctx, ast.Load):
                return False
            indexed += 1
    return indexed == sum(isinstance(n, ast.Name) and n.id == p for n in ast.walk(node))


def _only_calculated(node: ast.AST, name: str, free: bool = True) -> bool:
    """Whether `name` is read, never written, and nowhere in a test, an exponent, an index or a loop's bound."""
    for field, value in ast.iter_fields(node):
        deciding = (
            (isinstance(node, (ast.If, ast.While, ast.IfExp)) and field == "test")
            or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and field == "right")
            or (isinstance(node, ast.Subscript) and field == "slice")
            or (isinstance(node, ast.For) and field == "iter")
            or isinstance(node, (ast.Compare, ast.BoolOp))
            or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("range", "int", "bool")
            )
        )
        for child in value if isinstance(value, list) else [value]:
            if (
                isinstance(child, ast.Name)
                and child.id == name
                and not (free and not deciding and isinstance(child.ctx, ast.Load))
            ):
                return False
            if isinstance(child, ast.AST) and not _only_calculated(child, name, free and not deciding):
                return False
    return True


class _Lift(ast.NodeTransformer):
    def __init__(self, p: str, places: dict[str, int]) -> None:
        self.p, self.places = p, places

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in self.places:
            return node
        read = ast.Subscript(ast.Name(self.p, ast.Load()), ast.Constant(self.places[node.id]), ast.Load())
        return ast.copy_location(read, node)
