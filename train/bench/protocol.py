"""A protocol: everything that two people must share to compare controllers, by a name that ends in its version.

Protocols are data: `protocols/<name>.toml` holds the family, the method, the law that work is compared with, what is
observed and decided, tolerances, error levels, budget and the settings of every row.  The instances and the law stand
in files beside it, whose digests the protocol holds.  A suite is a file that names protocols.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...controllers.laws import registry, tuned
from ...controllers.laws.law import Law
from ...integrators import problems
from ...integrators.core.names import unknown
from ...integrators.engine.costs import NONE, Costs
from ...integrators.problems.families import Family
from .frozen_family import frozen
from .instance_file import Instances, checked, digest, parse

FOLDER = Path(__file__).parent / "protocols"


@dataclass(frozen=True, eq=False)
class Protocol:
    """A protocol that has been read and checked; its family and law are registered under its name.

    name, doc     what it is called ("orbits-v1"), and what it is about
    digest        SHA-256 of its file, which holds those of the instances and of the law
    data          the file's tables
    family        the frozen family
    instances     all its instances
    law           what work is compared with
    base          what learned controllers change: the same law, unless a protocol has another one for that (`[base]`)
    costs         of an implicit method's linear algebra, in right-hand sides
    """

    name: str
    doc: str
    digest: str
    data: dict[str, Any]
    family: Family
    instances: Instances
    law: Law
    base: Law
    costs: Costs

    @property
    def method(self) -> str:
        """The integration method."""
        return self.data["problem"]["method"]

    @property
    def max_attempts(self) -> int:
        """Attempts that a run or an episode may make."""
        return int(self.data["problem"]["max_attempts"])

    @property
    def env_steps(self) -> int:
        """Env steps (attempts) that a training run may take."""
        return int(self.data["budget"]["env_steps"])

    @property
    def seeds(self) -> int:
        """Training seeds of a row: 0 to seeds - 1."""
        return int(self.data["budget"]["seeds"])

    @property
    def env(self) -> dict[str, Any]:
        """Keyword arguments of `stepsmith/ODE-v0` for training: family, method, law, what is observed and decided, the
        reward, all training instances.
        """
        decision = self.data["decision"]
        found = {
            "family": self.name, "method": self.method, "law": self.base.name, "baseline": self.name,
            "features": list(decision["features"]), "n_act": decision["n_act"],
            "pool_size": self.size("train"), "max_attempts": self.max_attempts, **self.data["env"],
        }  # fmt: skip
        return found if "costs" not in self.data else {**found, "costs": dict(self.data["costs"])}

    def size(self, split: str) -> int:
        """How many instances a split has."""
        return len(self.instances.rows(split))

    def ids(self, split: str) -> list[str]:
        """The names of a split's instances: "orbits-v1/17"."""
        return [f"{self.name}/{i}" for i in self.instances.index[self.instances.rows(split)]]


def names() -> list[str]:
    """All protocols and suites, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def members(name: str) -> tuple[str, ...]:
    """The protocols of a suite, or the protocol itself; ValueError naming the nearest for an unknown name."""
    data = _read(name)[0]
    return tuple(data.get("protocols", (name,)))


@functools.cache
def load(name: str) -> Protocol:
    """The protocol called `name`.

    ValueError for an unknown name, for a suite, and where a file is not the one that the protocol was frozen with.
    """
    data, sha256 = _read(name)
    if "protocols" in data:
        raise ValueError(f"{name} is a suite: name one of its protocols, {', '.join(data['protocols'])}")
    problem = data["problem"]
    of = problems.family(problem["family"])
    kept = data["instances"]
    instances = parse(checked(FOLDER / kept["file"], kept["sha256"]), of.n, of.m)
    family = frozen(of, name, data["doc"], problem, instances)
    problems.register(family)
    costs = Costs(**data["costs"]) if "costs" in data else NONE
    law = _law(name, data["law"])
    base = _law(f"{name}-base", data["base"]) if "base" in data else law
    return Protocol(name, data["doc"], sha256, data, family, instances, law, base, costs)


def _law(name: str, kept: dict[str, str]) -> Law:
    """The law of a protocol's file, registered under `name`; it is no published law, and not listed."""
    path = FOLDER / kept["file"]
    checked(path, kept["sha256"])
    law, facts = tuned.read(path)
    return registry.register(Law(name, law.kind, law.values, law.rules, str(facts["doc"]), law.source), listed=False)


def _read(name: str) -> tuple[dict[str, Any], str]:
    path = FOLDER / f"{name}.toml"
    if not isinstance(name, str) or name not in names():
        raise unknown("protocol", name, names())
    raw = path.read_bytes()
    return tomllib.loads(raw.decode()), digest(raw)
