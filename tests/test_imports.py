"""What imports what: rooms look downwards only, and `import stepsmith` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# room -> the rooms that it may import; "" is the root package, which knows them all
BELOW = {
    "integrators": set(),
    "controllers": {"integrators"},
    "policies": {"controllers", "integrators"},
    "envs": {"controllers", "integrators"},
    "train": {"", "controllers", "envs", "integrators", "policies"},
}
SOURCES = sorted(file for room in BELOW for file in (ROOT / room).rglob("*.py"))
OTHERS = sorted(
    [*(ROOT / "stepsmith").glob("*.py")]
    + [file for folder in ("neural", "flows") for file in (ROOT / "stepsmith" / folder).rglob("*.py")]
    + [file for folder in ("tests", "benchmarks", "examples") for file in (ROOT / folder).rglob("*.py")]
)
MAX_LINES = 350
HEAVY = ("torch", "numba", "llvmlite", "scipy", "matplotlib", "stable_baselines3", "sklearn", "cma")


def imported(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Yield (level, absolute name) of every import in `source`, wherever it stands.

    `module` is the name of the module, ending in ".__init__" for a package.  `from a import b` yields "a.b",
    since b may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            if node.module:
                base = [*base, node.module]
            for alias in node.names:
                yield node.level, ".".join([*base, alias.name])


#: the floor below the rooms
CORE = "stepsmith.integrators.core"


def wrong_imports(source: str, module: str) -> list[str]:
    """Say which imports of the room module `module` point upwards, or are written in full."""
    room = module.split(".")[1]
    wrong = []
    for level, name in imported(source, module):
        first, _, rest = name.partition(".")
        if first == "stepsmith":
            other = rest.partition(".")[0]
            other = other if other in BELOW else ""
            if other not in BELOW[room] | {room}:
                wrong.append(f"{room} imports {name}")
            elif f"{module}.".startswith(f"{CORE}.") and not f"{name}.".startswith(f"{CORE}."):
                wrong.append(f"the core imports {name}")
            elif level == 0:
                wrong.append(f"{name} is not imported relatively")
    return wrong


def bare_rooms(source: str) -> list[str]:
    """Absolute imports of `envs`, `train`, ...: they work in the repository's root and nowhere else."""
    return [name for level, name in imported(source, "x") if level == 0 and name.partition(".")[0] in BELOW]



def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def root_of(node: ast.expr) -> str:
    """The name that a chain of attributes begins with: "a" of `a.b.c`; empty where it begins with no name."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def private_names(source: str) -> set[str]:
    """The private names of other modules of ours that `source` uses, as "module._name".

    That is `from .module import _name`, and `module._name` of what an import of ours has bound.
    """
    found, ours = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.level or f"{node.module}.".startswith("stepsmith.")):
            last = (node.module or "").rpartition(".")[2]
            found |= {f"{last}.{alias.name}" for alias in node.names if is_private(alias.name)}
            ours |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            ours |= {
                alias.asname or "stepsmith"
                for alias in node.names
                if f"{alias.name}.".startswith("stepsmith.")
            }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and root_of(node.value) in ours:
            found.add(f"{ast.unparse(node.value)}.{node.attr}")
    return found


def module_of(file: Path) -> str:
    return ".".join(["stepsmith", *file.relative_to(ROOT).with_suffix("").parts])


def test_there_is_something_to_check() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in SOURCES} == set(BELOW)


def test_rooms_import_downwards_and_relatively() -> None:
    found = {f: wrong_imports(f.read_text(), module_of(f)) for f in SOURCES}
    wrong = [f"{f.relative_to(ROOT)}: {w}" for f, ws in found.items() for w in ws]
    assert not wrong, "\n".join(wrong)


def test_no_room_is_imported_bare() -> None:
    wrong = [f"{f.relative_to(ROOT)}: {w}" for f in SOURCES + OTHERS for w in bare_rooms(f.read_text())]
    assert not wrong, "\n".join(wrong)


def test_a_file_is_read_in_one_sitting() -> None:
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in SOURCES + OTHERS}
    assert not {name: n for name, n in lengths.items() if n > MAX_LINES}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("stepsmith.integrators.engine.solve", "from ...controllers import laws"),
        ("stepsmith.integrators.engine.solve", "from ... import controllers"),
        ("stepsmith.integrators.problems.nonstiff.lorenz", "from ....envs.base import Base"),
        ("stepsmith.integrators.problems.__init__", "def f():\n    from ...train import cli"),
        ("stepsmith.controllers.laws.law", "import stepsmith.policies.export"),
        ("stepsmith.controllers.laws.law", "from ... import solve"),
        ("stepsmith.policies.net", "from ..envs import spaces"),
        ("stepsmith.envs.single", "from stepsmith.controllers import contract"),
        ("stepsmith.train.cli.program", "import stepsmith.envs"),
        ("stepsmith.integrators.core.binding", "from ..lanes import inline"),
        ("stepsmith.integrators.core.binding", "from .. import options"),
    ],
)
def test_the_check_sees_a_wrong_import(module: str, source: str) -> None:
    assert wrong_imports(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "stepsmith.integrators.engine.solve",
            "from ..core import record\nfrom ..methods.explicit.tsit5 import A\nimport numpy",
        ),
        (
            "stepsmith.integrators.problems.__init__",
            "from ..core.names import unknown\nfrom .nonstiff.lorenz import rhs",
        ),
        ("stepsmith.controllers.zoo.__init__", "from ...integrators.core import record"),
        ("stepsmith.train.cli.program", "from ... import solve\nfrom ...envs import single"),
        ("stepsmith.integrators.core.runner", "from . import dense\nfrom .record import N_RECORD"),
    ],
)
def test_the_check_lets_a_right_import_pass(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_the_check_sees_a_bare_room() -> None:
    assert bare_rooms("import envs.single\nfrom train import cli") == ["envs.single", "train.cli"]
    assert bare_rooms("from .train import cli\nfrom stepsmith.train import cli\nimport training") == []


def test_private_names_stay_in_their_module() -> None:
    outside = [f for f in OTHERS if "tests" not in f.relative_to(ROOT).parts]  # a test may look inside
    used = {(str(f.relative_to(ROOT)), name) for f in SOURCES + outside for name in private_names(f.read_text())}
    assert used == set(), "give the name a public spelling, or move what uses it"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from .solve import _numbers", "solve._numbers"),
        ("from ..engine import solve\nsolve._numbers()", "solve._numbers"),
        ("def f():\n    from stepsmith.engine import solve as s\n    return s._numbers", "s._numbers"),
        ("import stepsmith as ss\nss.engine._numbers()", "ss.engine._numbers"),
        ("from .law import Law\nLaw._made()", "Law._made"),
    ],
)
def test_the_check_sees_a_private_name(source: str, found: str) -> None:
    assert private_names(source) == {found}


def test_the_check_lets_other_private_names_pass() -> None:
    own = "from .law import Law\nimport sys\n_x = sys._getframe\nself._law, Law.__name__, Law(1)._made"
    assert private_names(own) == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, stepsmith; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_a_function_is_short() -> None:
    """Without its documentation; only text that is a kernel's template may be longer."""
    found = {}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None
                first = node.body[1].lineno if documented and len(node.body) > 1 else node.body[0].lineno
                found[f"{file.relative_to(ROOT)}: {node.name}"] = node.end_lineno - first + 1
    assert not {name: n for name, n in found.items() if n >= 80}
