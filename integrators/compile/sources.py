"""The package's own sources, as digests: a generated kernel is lowered by the modules that it imports, and by those
that they import.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGE = __name__.split(".")[0]
#: module of the elementary functions, which are lowered by their own module and take and give numbers
VECMATH = f"{__name__.rpartition('.')[0]}.vecmath"


@functools.cache
def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _imports(tree: ast.AST, module: str, package: bool) -> Iterator[str]:
    """Modules of the package that a source imports, at any depth of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = ".".join(parts[: len(parts) - node.level + package]) if node.level else ""
            source = ".".join(x for x in (base, node.module) if x)
            found = [source, *(f"{source}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in found if name.split(".")[0] == PACKAGE and _file(name) is not None)


@functools.cache
def _direct(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's file and the modules of the package that it imports."""
    path = _file(module)
    assert path is not None
    text = path.read_bytes()
    return hashlib.sha256(text).hexdigest(), tuple(
        sorted(set(_imports(ast.parse(text), module, path.name == "__init__.py")))
    )


@functools.cache
def module_digest(*modules: str) -> str:
    """Digest of the sources of modules of the package and of all that they import from it, however far."""
    todo, done = [m for m in modules if _file(m) is not None], {}
    while todo:
        name = todo.pop()
        if name not in done:
            done[name], more = _direct(name)
            todo.extend(more)
    return hashlib.sha256(repr((modules, sorted(done.items()))).encode()).hexdigest()


def source_digest(source: str) -> str:
    """Digest of the modules of the package that a generated source imports: what its code is lowered by."""
    return module_digest(*sorted(set(_imports(ast.parse(source), "", False))))
