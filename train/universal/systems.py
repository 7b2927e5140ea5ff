"""Chaotic systems of the package dysts as right-hand sides of ours.

W. Gilpin, "Chaos as an interpretable benchmark for forecasting and data-driven modelling", NeurIPS 2021,
arXiv:2110.05266.  Its systems come with a point on the attractor and a Lyapunov exponent, which gives each of them a
span of its own: two Lyapunov times, over which errors grow by e^2.

`pip install --no-deps dysts` is all that it takes: its source is read, not imported, as importing it needs packages
that nothing here uses.  All systems of one dimension become one right-hand side, which branches on the system's number
in p[0]: a kernel for each of a hundred systems would take longer to compile than the search that it is for.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...integrators.core.errors import OptionError

INSTALL = "pip install --no-deps dysts"
#: dimensions that have enough systems for a right-hand side of their own
DIMENSIONS = (3, 4)
#: periods after which the span of a system ends at the latest
MOST_PERIODS = 50.0


@dataclass(frozen=True)
class System:
    """One system as dysts describes it.

    arguments     names of its state variables, n of them
    parameters    names and values of its parameters, in the order in which its function takes them
    body          statements of its function, which end in returning the n derivatives
    start         (n,) a point on the attractor
    exponent      largest Lyapunov exponent, per unit of time
    period        of the slowest motion that matters, in units of time
    """

    name: str
    arguments: tuple[str, ...]
    parameters: dict[str, float]
    body: tuple[ast.stmt, ...]
    start: tuple[float, ...]
    exponent: float
    period: float

    @property
    def n(self) -> int:
        """Dimension of the state."""
        return len(self.start)

    @property
    def span(self) -> float:
        """Two Lyapunov times, or `MOST_PERIODS` of a system that is hardly chaotic."""
        return min(2.0 / self.exponent, MOST_PERIODS * self.period)


def read() -> dict[str, System]:
    """The systems of the installed dysts by name, sorted, whose function takes and returns single numbers.

    Left out are delay equations and functions that take arrays.  OptionError where dysts is not installed.
    """
    found = importlib.util.find_spec("dysts")
    if found is None or found.origin is None:
        raise OptionError(f"the systems come from the package dysts: {INSTALL}")
    root = Path(found.origin).parent
    facts = json.loads((root / "data" / "chaotic_attractors.json").read_text(encoding="utf-8"))
    out = {}
    for node in ast.parse((root / "flows.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in facts:
            system = _system(node, facts[node.name])
            if system is not None:
                out[node.name] = system
    return dict(sorted(out.items()))


def _system(node: ast.ClassDef, facts: dict[str, Any]) -> System | None:
    """A class of dysts, or None for one that is no plain function of numbers."""
    functions = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "_rhs"]
    start = np.asarray(facts["initial_conditions"], dtype=float)
    if facts["delay"] or not functions or start.ndim != 1 or not facts.get("maximum_lyapunov_estimated", 0) > 0:
        return None
    names = [argument.arg for argument in functions[0].args.args]
    if "t" not in names or names.index("t") != start.size:
        return None
    given = {name: facts["parameters"][name] for name in names[start.size + 1 :]}
    if any(np.ndim(value) for value in given.values()):
        return None
    body = functions[0].body
    last = body[-1]
    whole = isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple) and len(last.value.elts) == start.size
    if not whole or any(isinstance(part, ast.Return) for statement in body[:-1] for part in ast.walk(statement)):
        return None
    return System(
        node.name, tuple(names[: start.size]), {k: float(v) for k, v in given.items()}, tuple(body),
        tuple(start.tolist()), float(facts["maximum_lyapunov_estimated"]), float(facts["period"]),
    )  # fmt: skip


class _Renamed(ast.NodeTransformer):
    """Every variable of a system under a name of its own, so that branches of one function share none."""

    def __init__(self, ending: str) -> None:
        self.ending = ending

    def visit_Name(self, node: ast.Name) -> ast.Name:
        kept = node.id in ("np", "abs", "min", "max", "t")
        return node if kept else ast.copy_location(ast.Name(node.id + self.ending, node.ctx), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.func) == "np.heaviside":  # Numba has none
            x, middle = (ast.unparse(argument) for argument in node.args)
            return ast.parse(f"(1.0 if {x} > 0.0 else 0.0 if {x} < 0.0 else {middle})", mode="eval").body
        return node


def text(systems: Sequence[System]) -> str:
    """The source of a module whose `rhs(t, y, p, dy)` is that of system number p[0], its parameters in p[1:]."""
    lines = ['"""Right-hand sides of dysts, by number."""', "", "import numpy as np", "", "", "def rhs(t, y, p, dy):"]
    lines.append(f'    """{", ".join(system.name for system in systems)}."""')
    lines += _branches(systems, 0, len(systems), "    ")
    return "\n".join(lines) + "\n"


def _branches(systems: Sequence[System], low: int, high: int, indent: str) -> list[str]:
    """Statements that find system number p[0] among those from low to high by halving."""
    if high - low == 1:
        return _statements(systems[low], low, indent)
    middle = (low + high) // 2
    return [
        f"{indent}if p[0] < {middle - 0.5!r}:", *_branches(systems, low, middle, indent + "    "),
        f"{indent}else:", *_branches(systems, middle, high, indent + "    "),
    ]  # fmt: skip


def _statements(system: System, number: int, indent: str) -> list[str]:
    ending = f"_{number}"
    renamed = [_Renamed(ending).visit(ast.parse(ast.unparse(statement)).body[0]) for statement in system.body]
    out = [f"{name}{ending} = y[{i}]" for i, name in enumerate(system.arguments)]
    out += [f"{name}{ending} = p[{1 + i}]" for i, name in enumerate(system.parameters)]
    for statement in renamed[:-1]:
        out += ast.unparse(statement).split("\n")
    last = renamed[-1].value
    out += [f"dy[{i}] = {ast.unparse(value)}" for i, value in enumerate(last.elts)]
    return [indent + line for line in out]


def compiled(systems: Sequence[System], folder: Path) -> Callable[..., None]:
    """The function of `text`, out of a module that is written into the folder, so that its kernels are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"dysts_{systems[0].n if len(systems) > 1 else systems[0].name}"
    path = folder / f"{name}.py"
    source = text(systems)
    if not path.is_file() or path.read_text(encoding="utf-8") != source:
        path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the file was just written
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.rhs


def parameters(systems: Sequence[System], numbers: Iterable[int]) -> np.ndarray:
    """(B, m) parameters of the systems of these numbers: the number, then the system's own, then zeros."""
    width = 1 + max(len(system.parameters) for system in systems)
    rows = []
    for number in numbers:
        own = [float(number), *systems[number].parameters.values()]
        rows.append([*own, *[0.0] * (width - len(own))])
    return np.array(rows)
