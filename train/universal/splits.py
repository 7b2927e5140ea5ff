"""The systems as families, their division into seen and unseen ones, and the protocol of every method.

Systems are divided by themselves, not by instance: what is tested on has taken no part in the search.  Of all systems
40 % are never seen; of the others a quarter chooses between candidates and the rest is searched on.

The division was drawn system by system, so that relatives of what is tested on stand on the other sides (`RELATIVES`).
Two systems are relatives where one of these holds, and relatives of relatives are relatives:

- one becomes the other by other values of its parameters, by a term or a variable more or less, or by another function
  in the place of one (Chen and Lu-Chen; every "hyper" system and what it was made from; the two of Yu and Wang);
- both were found by one search of one author over one form (Sprott's cases);
- both model one mechanism by the same kind of term (prey and predators; bodies under gravity; a periodically forced
  oscillator with a cubic force; weighted sums through tanh).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...controllers.laws import registry
from ...integrators import problems
from ...integrators.engine.costs import NONE
from ...integrators.engine.ensemble import solve_ensemble
from ...integrators.problems.families import Family, tolerance_grid
from ...integrators.problems.problem import Batch
from ..evaluate.splits import Split
from . import systems

#: families of the package among the systems; those of one mechanism stand on one side
OWN = {
    "train": ("lotka_volterra", "brusselator", "henon_heiles", "kepler", "kuramoto", "neural_field"),
    "validation": ("double_pendulum", "species"),
    "test": ("pleiades", "three_body", "lorenz96", "arenstorf", "rate_network"),
}
#: systems of dysts that are families of the package above
TWICE = ("DoublePendulum", "HenonHeiles")
#: systems of one mechanism by its name, as the module says; those that are not here have no relative
RELATIVES = {
    "convection": (
        "BurkeShaw", "Chen", "DequanLi", "HyperBao", "HyperCai", "HyperJha", "HyperLorenz", "HyperLu", "HyperPang",
        "HyperQi", "HyperWang", "HyperXu", "HyperYan", "HyperYangChen", "Laser", "Lorenz", "LorenzBounded",
        "LorenzStenflo", "LuChen", "Qi", "QiChen", "RayleighBenard", "Rucklidge", "SanUmSrisuchinwong",
        "ShimizuMorioka", "VallisElNino", "YuWang", "YuWang2",
    ),
    "rigid body": (
        "ChenLee", "Dadras", "LuChenCheng", "NewtonLiepnik", "RikitakeDynamo", "Sakarya", "WangSun", "ZhouChen",
    ),
    "sprott": (
        *(f"Sprott{case}" for case in "ABCDEFGHIJKLMNOPQRS"), "SprottMore", "SprottTorus", "NoseHoover",
    ),
    "jerk": ("Arneodo", "GenesioTesi", "JerkCircuit", "MooreSpiegel", "SprottJerk"),
    "rossler": ("HyperRossler", "Rossler"),
    "circulation": ("Hadley", "Lorenz84"),
    "hopf and fold": ("Aizawa", "GuckenheimerHolmes"),
    "cyclic": ("Halvorsen", "Thomas"),
    "stream function": ("ArnoldBeltramiChildress", "DoubleGyre", "OscillatingFlow"),
    "forced oscillator": (
        "Duffing", "FluidTrampoline", "ForcedFitzHughNagumo", "ForcedVanDerPol", "StickSlipOscillator",
    ),
    "autocatalysis": ("ForcedBrusselator", "IsothermalChemical", "brusselator"),
    "prey and predators": (
        "Blasius", "CoevolvingPredatorPrey", "HastingsPowell", "ItikBanksTumor", "SaltonSea", "TurchinHanski",
        "lotka_volterra", "species",
    ),
    "gravity": ("arenstorf", "kepler", "pleiades", "three_body"),
    "pendulums": ("SwingingAtwood", "double_pendulum"),
    "cubic potential": ("NuclearQuadrupole", "henon_heiles"),
    "network": ("neural_field", "rate_network"),
}  # fmt: skip
#: by method: loosest and tightest tolerance, their number, and the band of error levels
PROTOCOL = {
    "bs32": (1e-2, 1e-7, 13, (1e-4, 1e-2)),
    "tsit5": (1e-2, 1e-10, 17, (1e-7, 1e-3)),
    "dopri5": (1e-2, 1e-10, 17, (1e-7, 1e-3)),
    "dop853": (1e-2, 1e-12, 21, (1e-9, 1e-4)),
}
SHARE_UNSEEN, SHARE_CHOOSING = 0.4, 0.25
#: times after which an instance begins on the attractor, in spans
FURTHEST = 10.0
#: every second instance is short, this part of the span: neural differential equations are solved in 4 to 30 steps
SHORT = (0.03, 0.5)


def mechanism(name: str) -> str:
    """The mechanism of a system; of one without relatives its own name."""
    return next((mechanism for mechanism, names in RELATIVES.items() if name in names), name)


class Systems:
    """All systems, of dysts and of the package.

    folder    where the right-hand sides of dysts are written
    apart     True: every system has a right-hand side of its own, whose kernel runs at the system's true cost, and not
              one that branches over all systems of its dimension
    """

    def __init__(self, folder: Path, apart: bool = False) -> None:
        self.folder, self.apart = folder, apart
        self.known = systems.read()
        self.groups = {n: [s for s in self.known.values() if s.n == n] for n in systems.DIMENSIONS}
        self.rhs = {} if apart else {n: systems.compiled(group, folder) for n, group in self.groups.items()}

    @functools.cached_property
    def sides(self) -> dict[str, tuple[str, ...]]:
        """Names on the sides "train", "validation" and "test", those of dysts drawn by the fixed seed 0."""
        names = np.array(sorted(s.name for group in self.groups.values() for s in group if s.name not in TWICE))
        names = names[np.random.default_rng(0).permutation(len(names))]
        unseen = int(round(SHARE_UNSEEN * len(names)))
        choosing = unseen + int(round(SHARE_CHOOSING * (len(names) - unseen)))
        drawn = {"test": names[:unseen], "validation": names[unseen:choosing], "train": names[choosing:]}
        return {side: (*sorted(map(str, drawn[side])), *OWN[side]) for side in OWN}

    def unrelated(self, side: str) -> tuple[str, ...]:
        """Names on a side of which no relative stands on another side."""
        seen = {mechanism(name) for other, names in self.sides.items() if other != side for name in names}
        return tuple(name for name in self.sides[side] if mechanism(name) not in seen)

    def some(self, side: str, most: int = 0) -> tuple[str, ...]:
        """Names on a side in an order drawn by the fixed seed 0, the first `most` of them; 0: all, as they stand."""
        names = self.sides[side]
        order = np.random.default_rng(0).permutation(len(names))
        return tuple(sorted(names)[i] for i in order[:most]) if most else names

    def family(self, name: str, method: str) -> Family:
        """A system as a family under a method's protocol."""
        loose, tight, count, levels = PROTOCOL[method]
        tolerances = tolerance_grid(loose, tight, count)
        if name not in self.known:
            own = problems.family(name)
            if own.error == "energy":
                raise ValueError(f"{name}: its error is that of the energy, and the universal law is for state errors")
            return replace(own, tolerances=tolerances, levels=levels, method=method)
        system = self.known[name]
        group = [system] if self.apart else self.groups[system.n]
        number = group.index(system)
        rhs = systems.compiled(group, self.folder) if self.apart else self.rhs[system.n]

        def sampler(rng: np.random.Generator, count: int) -> Batch:
            p = systems.parameters(group, [number] * count)
            y0, zero = np.tile(system.start, (count, 1)), np.zeros(count)
            away = Batch(rhs, y0, p, zero, rng.uniform(0.0, FURTHEST * system.span, count), name=name)
            found = solve_ensemble(away, "dop853", registry.get("dop853").general(), 1e-9, 1e-12, max_steps=200_000)
            start = np.where(found.success[:, None], found.y, y0)
            low, high = np.log(SHORT)
            part = np.exp(rng.uniform(low, high, count))
            part[::2] = 1.0
            return Batch(rhs, start, p, zero, part * system.span, name=name)

        return Family(
            name=f"dysts:{name}", doc=f"{name} of dysts", rhs=rhs, n=system.n,
            m=systems.parameters(group, [0]).shape[1], sampler=sampler, atol_factor=1e-3,
            tolerances=tolerances, levels=levels, method=method,
        )  # fmt: skip

    def draw(self, side: str, method: str, n: int, names: Iterable[str] | None = None, seed: int = 0) -> list[Split]:
        """`n` instances of every system of a side; systems of which no reference passes its self-check are left out."""
        out = []
        for name in self.sides[side] if names is None else names:
            family = self.family(name, method)
            batch = family.split(side, n, seed)
            found = family.reference(batch)
            if found is None:
                raise ValueError(f"{name} has no reference")
            keep = np.flatnonzero(found.ok)
            if keep.size:
                failed = tuple(int(i) for i in np.flatnonzero(~found.ok))
                out.append(
                    Split(
                        family, method, side, seed, n, batch[keep], np.ascontiguousarray(found.y[keep]), keep, failed,
                        NONE,
                    )
                )  # fmt: skip
        return out
