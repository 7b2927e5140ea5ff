"""The environments by id, in one table: `gymnasium.make`, `gymnasium.make_vec`, `make_sb3` and training configs are
made from it.

Imports nothing heavy, for `import stepsmith` reads it to register the ids.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_ROOM = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class EnvSpec:
    """id; module of this room with `make_core` and `spaces_of`; prefix of its classes (`<prefix>Env`,
    `<prefix>VectorEnv`); the arguments that the id fixes; doc: one line; steps: its actions are step sizes, so that a
    controller comes out of its training."""

    id: str
    module: str
    prefix: str
    doc: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    steps: bool = True

    def load(self) -> ModuleType:
        """The module (imports the engine)."""
        return importlib.import_module(f"{_ROOM}.{self.module}")

    def make_core(self) -> Callable[..., Any]:
        """`make_core(lanes, same_step, **options)` of the module."""
        return self.load().make_core


SPECS: dict[str, EnvSpec] = {
    spec.id: spec
    for spec in (
        EnvSpec("stepsmith/ODE-v0", "ode", "ODE", "step size of any method on any family"),
        EnvSpec("stepsmith/ThreeBody-v0", "ode", "ODE", "step size on three bodies", {"family": "three_body"}),
        EnvSpec(
            "stepsmith/Stiff-v0",
            "ode",
            "ODE",
            "step size, threshold, dead band and Jacobian of an implicit method on stiff van der Pol",
            {"family": "vdpol_stiff", "method": "esdirk43", "law": "predictive", "n_act": 4},
        ),
        EnvSpec(
            "stepsmith/ThreeBodyPaper-v0",
            "three_body_paper",
            "ThreeBodyPaper",
            "accuracy parameter of Hermite's method, arXiv:2502.12809",
            steps=False,
        ),
    )
}


def register_all(register: Callable[..., None]) -> None:
    """Call `register` (`gymnasium.register`) for every id."""
    for spec in SPECS.values():
        classes = f"{_ROOM}.{spec.module}:{spec.prefix}"
        register(
            id=spec.id, entry_point=f"{classes}Env", vector_entry_point=f"{classes}VectorEnv", kwargs=dict(spec.fixed),
            disable_env_checker=False,
        )  # fmt: skip
