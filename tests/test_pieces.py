"""Template modules of the loop and of the methods: their stand-ins are those that kernels bind, and all are used."""

from __future__ import annotations

import ast
from pathlib import Path

from stepsmith.integrators.kernels import drivers, layout, pieces
from stepsmith.integrators.kernels.followed import FOLLOWED_PLACE
from stepsmith.integrators.kernels.pieces import slots

FOLDER = Path(str(pieces.__file__)).parent


def places(prefix: str) -> list[str]:
    return [name.removeprefix(prefix).lower() for name in vars(slots) if name.startswith(prefix)]


def test_places_are_those_of_the_layout():
    assert sorted(set(places("PACK_")) - {"head"}) == sorted(layout.PACK)
    assert sorted(places("STAT_")) == sorted(layout.STATS)
    assert sorted(places("PLACE_")) == sorted(FOLLOWED_PLACE) and set(drivers.PLACE) < set(FOLLOWED_PLACE)


def test_every_stand_in_is_used_and_templates_hold_functions_alone():
    used: set[str] = set()
    for file in FOLDER.glob("*.py"):
        if file.stem in ("slots", "__init__"):
            continue
        tree = ast.parse(file.read_text())
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        # an assignment would reach the generated module, below the value that is bound there
        kinds = {type(node) for node in tree.body[1:]}
        assert kinds <= {ast.Import, ast.ImportFrom, ast.FunctionDef}, file.name
    names = {name for name in vars(slots) if not name.startswith("_") and name not in ("annotations", "Any")}
    assert names <= used, names - used
