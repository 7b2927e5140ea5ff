"""Text of kernel pieces that are written as Python functions.

A kernel is a generated module of source (`compile.cache` says why).  A *template module* holds pieces of it as ordinary
functions, with their comments and docstrings, over the names that `slots` declares.  `text` gives the source of chosen
functions as it stands in their file, to be put below the real values of those names (`build.header`,
`Layout.constants`, `constants`); import lines stay behind.

Four decorators of `slots` say how a piece is compiled, and are written under the names that a generated module binds:

    @inline   by Numba, and inlined into every caller: loops, branches, calls of a user's functions
    @traced   run once on symbolic values (`compile.trace`): straight-line code of one lane.  What it returns can be
    used by other
              traced functions alone; an `if` over a constant of the module is decided when it is traced
    @piece    by Numba, as a function of its own that is called: what runs rarely
    @entry    by Numba, with its machine code kept on disk: what Python calls

What differs between kernels is a constant of the generated module: Numba leaves a branch out that such a constant rules
out (`if IMPLICIT:`) before it looks at the types in it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import types
from collections.abc import Callable

#: the decorators of `slots`, as a generated module writes them
DECORATORS = {
    "inline": "_inline",
    "traced": "_traced",
    "piece": "_piece",
    "entry": '_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")',
}


@functools.cache
def _parts(module: types.ModuleType) -> dict[str, str]:
    """Text of what a template module defines by name, functions and constants: the comment lines right above,
    decorators, body.
    """
    source = inspect.getsource(module)
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, (ast.FunctionDef, ast.Assign)):
            continue
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
        while first > 0 and lines[first - 1].startswith("#"):
            first -= 1
        name = node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node.targets[0])
        body = "\n".join(lines[first : node.end_lineno])
        found[name] = re.sub(r"(?m)^@(\w+)$", lambda match: f"@{DECORATORS.get(match[1], match[1])}", body)
        found[name] += "\n\n\n" if isinstance(node, ast.FunctionDef) else "\n"
    return found


def text(*pieces: Callable | types.ModuleType) -> str:
    """Source of functions of template modules, in this order; of all functions and constants of a module where one is
    given."""
    out: list[str] = []
    for piece in pieces:
        if isinstance(piece, types.ModuleType):
            out += _parts(piece).values()
        else:
            out.append(_parts(sys.modules[piece.__module__])[piece.__name__])
    return "".join(out)


def constants(**values: object) -> str:
    """Lines `NAME = value` of what differs between kernels."""
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


def numbered(module: str, prefix: str = "") -> dict[str, int]:
    """The whole numbers that a module, given by its name, calls by names with this prefix, in the order of their
    values: places in one array.
    """
    names = vars(sys.modules[module])
    found = {name: value for name, value in names.items() if name.startswith(prefix) and type(value) is int}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def places(module: str, prefix: str) -> tuple[str, ...]:
    """Names of the places of one array, in their order, in lower case without the prefix."""
    return tuple(name.removeprefix(prefix).lower() for name in numbered(module, prefix))
