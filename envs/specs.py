"""The environments by id, in one table: `gymnasium.make`, `gymnasium.make_vec`, `make_sb3` and training configs read
it.

Imports nothing heavy, for `import stepsmith` reads it to register the ids.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_ROOM = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class EnvSpec:
    """One environment.

    id: "namespace/Name-v0".  module: where it is, `make_core` and the classes `<prefix>Env` and `<prefix>VectorEnv`;
    with a dot in front, in this room.  doc: one line.  fixed: arguments that the id fixes.  steps: a
    controller of step sizes comes out of its training.  discrete: it has a number of actions to choose from.
    """

    id: str
    module: str
    prefix: str
    doc: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    steps: bool = True
    discrete: bool = False

    def load(self) -> ModuleType:
        """The module (imports the engine)."""
        return importlib.import_module(self.module, _ROOM)

    def make_core(self) -> Callable[..., Any]:
        """`make_core(lanes, same_step, **options)` of the module."""
        return self.load().make_core

    @property
    def gymnasium(self) -> dict[str, Any]:
        """Arguments of `gymnasium.register`."""
        classes = f"{_ROOM if self.module.startswith('.') else ''}{self.module}:{self.prefix}"
        return {
            "id": self.id, "entry_point": f"{classes}Env", "vector_entry_point": f"{classes}VectorEnv",
            "kwargs": dict(self.fixed), "disable_env_checker": False,
        }  # fmt: skip


#: the one that a config without an id trains in
DEFAULT_ID = "stepsmith/ODE-v0"
SPECS: dict[str, EnvSpec] = {spec.id: spec for spec in (
    EnvSpec("stepsmith/ODE-v0", ".ode", "ODE", "step size of any method on any family"),
    EnvSpec("stepsmith/ThreeBody-v0", ".ode", "ODE", "step size on three bodies", {"family": "three_body"}),
    EnvSpec(
        "stepsmith/Stiff-v0", ".ode", "ODE",
        "step size, threshold, dead band and Jacobian of an implicit method on stiff van der Pol",
        {"family": "vdpol_stiff", "method": "esdirk43", "law": "predictive", "n_act": 4},
    ),
    EnvSpec(
        "stepsmith/ThreeBodyPaper-v0", ".three_body_paper", "ThreeBodyPaper",
        "accuracy parameter of Hermite's method, arXiv:2502.12809",
        steps=False, discrete=True,
    ),
    EnvSpec(
        "stepsmith/Regularization-v0", ".regularization", "Regularization",
        "strength of a neural differential equation's regularisation while it trains",
        steps=False,
    ),
    EnvSpec(
        "stepsmith/NeuralODE-v0", ".neural_ode", "NeuralODE",
        "step size, first step and even steps on fields that drift as their training goes on",
        steps=False,
    ),
    EnvSpec(
        "stepsmith/SteadyState-v0", ".steady_state", "SteadyState",
        "step size on the way to a steady state, where only its end counts",
        steps=False,
    ),
    EnvSpec("stepsmith/SDE-v0", ".sde", "SDE", "step size on paths of stochastic differential equations", steps=False),
    EnvSpec(
        "stepsmith/Sampler-v0", "stepsmith.flows.sampler_env", "Sampler",
        "times at which a flow or diffusion model is evaluated on the way from noise to data",
        steps=False,
    ),
)}  # fmt: skip

_SHIPPED = frozenset(SPECS)
_ID = re.compile(r"[\w:.-]+/[\w:.-]+-v\d+")


def ships(name: str) -> bool:
    """Whether the environment of this id comes with the package."""
    return name in _SHIPPED


def register_all(register: Callable[..., None]) -> None:
    """Call `register` (`gymnasium.register`) for every id."""
    for spec in SPECS.values():
        register(**spec.gymnasium)


def register(spec: EnvSpec) -> EnvSpec:
    """Let `spec.id` name an environment wherever one is named in this process; returns `spec`.

    An environment that was registered under the id before is replaced.  ValueError for an id that ships and for one
    that is not "namespace/Name-v0".
    """
    import gymnasium

    if not isinstance(spec, EnvSpec):
        raise TypeError(f"an environment is registered by an EnvSpec, got {type(spec).__name__}")
    if not _ID.fullmatch(spec.id):
        raise ValueError(f"the id of an environment must be like 'mine/Name-v0', got {spec.id!r}")
    if spec.id in _SHIPPED:
        raise ValueError(f"environment {spec.id!r} ships with the package: give this one another id")
    if spec.id in SPECS:
        gymnasium.registry.pop(spec.id, None)
    SPECS[spec.id] = spec
    gymnasium.register(**spec.gymnasium)
    return spec
