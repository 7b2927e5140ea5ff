"""What `stepsmith list` lists, by kind: rows of a name and a line on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _laws() -> list[tuple[str, str]]:
    from ...controllers.laws import registry

    out = []
    for name in registry.names():
        law = registry.get(name, h=1.0) if name == "constant" else registry.get(name)
        out.append((name, law.doc))
    return out


def _rules() -> list[tuple[str, str]]:
    from ...controllers.switching.registry import RULES
    from ...integrators.methods.portfolio import Portfolio

    return [(name, make(Portfolio("tsit5+rodas5p")).doc) for name, make in RULES.items()]


def _methods() -> list[tuple[str, str]]:
    from ...integrators import methods

    found = [methods.get(name) for name in methods.names()]
    rows = []
    for m in found:
        order = f"{m.order}({m.embedded_order})" if m.embedded_order else str(m.order)
        rows.append((m.name, f"order {order}: {m.doc}" + (f"; law {m.law}" if m.embedded_order else "")))
    return rows


def _families() -> list[tuple[str, str]]:
    from ...integrators import problems

    return [(name, problems.family(name).doc) for name in problems.names()]


def _sde_methods() -> list[tuple[str, str]]:
    from ...integrators.methods import sde

    found = [sde.get(name) for name in sde.NAMES]
    return [(m.name, f"strong order {m.strong}, {' or '.join(m.noises)} noise: {m.doc}") for m in found]


def _sde_families() -> list[tuple[str, str]]:
    from ...integrators.problems import sde

    found = [sde.family(name) for name in sde.names()]
    return [(f.name, f"{f.doc}, {f.noise} noise; method {f.method}") for f in found]


def _envs() -> list[tuple[str, str]]:
    from ...envs.specs import SPECS

    return [(spec.id, spec.doc) for spec in SPECS.values()]


def _zoo() -> list[tuple[str, str]]:
    from ...controllers import zoo

    steps = [(name, _summary(zoo.card(name))) for name in zoo.names()]
    return steps + [(name, _summary(zoo.card(name + zoo.STRENGTH))) for name in zoo.strengths()]


def _summary(card: str) -> str:
    """What the first paragraph below a card's title begins with, up to its first colon or full stop."""
    paragraph = card.strip().split("\n\n")[1].replace("\n", " ")
    return re.split(r"[:.] ", paragraph, maxsplit=1)[0].rstrip(".")


def _tuned() -> list[tuple[str, str]]:
    from ...controllers.laws import tuned

    out = []
    for name in tuned.names():
        family, _, method = name.rpartition("-")
        path = tuned.find(family, method)
        try:
            told = "" if path is None else f", from the base law {tuned.read(path)[1].get('base')}"
        except ValueError as error:  # a file of the user's own may be damaged
            told = f": {error}"
        out.append((name, f"law tuned on {family} with {method}{told}"))
    return out


def _rewards() -> list[tuple[str, str]]:
    from ...integrators.kernels.environment import rewards

    return [(name, rule.doc) for name, rule in rewards.RULES.items()]


def _features() -> list[tuple[str, str]]:
    from ...controllers.learned.observation import FEATURES

    return [(f.name, f"tier {f.tier}: {f.doc}") for f in FEATURES.values()]


def _actions() -> list[tuple[str, str]]:
    from ...controllers.learned.actions import ACTIONS

    return [(action.name, f"{action.knob}: {action.doc}") for action in ACTIONS.values()]


def _configs() -> list[tuple[str, str]]:
    from ..config import reading

    folder = Path(__file__).parents[1] / "configs"
    return [(path.stem, _purpose(reading.toml(path))) for path in sorted(folder.glob("*.toml"))]


def _purpose(tables: dict[str, Any]) -> str:
    """What a training config trains, and on what."""
    if "task" in tables:
        return f"a neural differential equation on {tables['task']['name']}"
    from ...envs.specs import DEFAULT_ID, SPECS
    from ..config.settings import STRENGTH_ID

    env = tables["env"]
    spec = SPECS.get(env.get("id", DEFAULT_ID))
    what = "a controller" if spec is None or spec.steps else "a policy"
    if env.get("id") == STRENGTH_ID:
        what = "a strength of a regulariser"
    return f"{what} by {tables['algorithm']} on {env.get('family', env.get('id'))}"


LISTS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "laws": _laws, "methods": _methods, "families": _families, "envs": _envs, "zoo": _zoo, "tuned": _tuned,
    "rewards": _rewards, "features": _features, "actions": _actions, "configs": _configs, "rules": _rules,
    "sde-methods": _sde_methods, "sde-families": _sde_families,
}  # fmt: skip
