"""A protocol's family: the right-hand side of a family that ships, with the protocol's instances, errors and levels.

It is a `Family` of its own name ("orbits-v1"), so that everything that takes a family takes it: environments, training,
comparison.  Only `split` differs: it hands out instances of the protocol's file, the first n of a split, in order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ...integrators.problems.families import SPLITS, Family, tolerance_grid
from ...integrators.problems.problem import Batch
from .instance_file import BenchError, Instances


@dataclass(frozen=True, eq=False)
class FrozenFamily(Family):
    """A family whose splits are those of a protocol.  instances: the protocol's; None draws as any family does."""

    instances: Instances | None = None

    def split(self, name: str, n: int, seed: int = 0) -> Batch:
        """The first `n` instances of the protocol's split `name`.

        seed must be 0: there is one draw.  BenchError where the split holds fewer than n instances.
        """
        if self.instances is None:
            return super().split(name, n, seed)
        if name not in SPLITS or name == "sample":
            raise ValueError(f"unknown split {name!r}: train, validation or test")
        if seed != 0:
            raise BenchError(f"{self.name}: the instances are frozen, so that the seed of a split is 0, got {seed}")
        rows = self.instances.rows(name)
        if n > len(rows):
            raise BenchError(f"{self.name}: the split {name!r} holds {len(rows)} instances, got n = {n}")
        batch = self.instances.batch(self, rows[:n])
        return dataclasses.replace(batch, name=self.name, family=self.name, validate=False)

    def numbered(self, name: str, n: int, seed: int = 0) -> Batch:
        """The same as `split`: no instance depends on how many are taken."""
        return super().numbered(name, n, seed) if self.instances is None else self.split(name, n, seed)


def frozen(base: Family, name: str, doc: str, problem: dict[str, Any], instances: Instances) -> FrozenFamily:
    """The family of a protocol.

    base: the family that ships.  problem: the protocol's table of that name.
    """
    own = {f.name: getattr(base, f.name) for f in dataclasses.fields(Family)}
    grid = problem["tolerances"]
    own |= {
        "name": name, "doc": doc, "method": problem["method"], "error": problem["error"], "published": None,
        "from_seeds": None, "tolerances": tolerance_grid(grid["loose"], grid["tight"], grid["count"]),
        "atol_factor": problem["atol_factor"], "levels": tuple(problem["levels"]), "etas": (),
    }  # fmt: skip
    return FrozenFamily(**own, instances=instances)
