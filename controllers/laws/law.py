"""A classical law: named coefficients that become the parameter array of a formula.

Coefficients are given as people write them (safety .9, fmax 10, kappa 1); `params` holds what the formula reads
(logarithms, 1/kappa).  Which coefficients there are stands in `coefficients`, the published laws stand in `table`,
the look-up by name in `registry`, and the search space of a tuner in `search`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ...integrators.core import record
from ...integrators.core.contract import N_HEAD, S_LH1, S_LH2, Lane, bind
from ...integrators.core.errors import shown
from ...integrators.core.names import unknown
from ...integrators.core.tolerance_scale import checked as checked_scale
from ..ways_in import WaysIn
from . import formula as F
from . import nbody
from .coefficients import PLAIN, SIZES, SPECS


@functools.cache
def _linear_phase(smooth: bool, newton: bool) -> tuple[Lane]:
    return (Lane(bind(F.linear_decide, {"SMOOTH": smooth, "NEWTON": newton})),)


_FIRST = {"criterion": nbody.criterion_first, "constant": nbody.constant_first}
_PHASES = {"criterion": (Lane(nbody.criterion_decide),), "constant": (Lane(nbody.constant_decide),)}


@dataclass(frozen=True, eq=False)
class Law(WaysIn):
    """A classical controller (the contract of `docs/architecture.md`).

    name      as it is called in tables
    kind      "linear", "criterion" or "constant"
    values    natural values by coefficient; those left out have the defaults of `SPECS[kind]`
    rules     the code whose rules for acceptance, limiter and rejection it follows
    tolerance_scale    by which solvers multiply the tolerances asked for (`integrators.core.tolerance_scale`)
    doc       what it is, in words
    source    where it was published
    known     ((slot, value), ...) of parameters, and of state rows that nobody reads, which a kernel may compile in:
              a law of two error lags without a filter on step sizes, dead band or other extras does without a
              logarithm and most selects

    Raises ValueError for an unknown coefficient (naming the nearest) and for a value that is not a number or out of
    range.
    """

    name: str
    kind: str
    values: Mapping[str, float]
    rules: str = ""
    doc: str = ""
    source: str = ""
    tolerance_scale: float = field(default=1.0, kw_only=True)
    n_state: int = field(default=N_HEAD, init=False)
    known: tuple[tuple, tuple] = field(default=((), ()), init=False, repr=False)
    _full: Mapping[str, float] = field(default_factory=dict, init=False, repr=False)
    _params: np.ndarray = field(init=False, repr=False)
    _whole: bool = field(default=False, init=False, repr=False)
    #: method that a law out of a file was tuned for; solves with another one warn
    trained_method: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in SPECS:
            raise unknown("kind of law", self.kind, SPECS)
        object.__setattr__(self, "tolerance_scale", checked_scale(self.tolerance_scale))
        spec = SPECS[self.kind]
        full = {name: c.default for name, c in spec.items()}
        for name, value in self.values.items():
            if name not in spec:
                raise unknown(f"coefficient of law {shown(self.name)}", name, spec)
            full[name] = spec[name].checked(self.name, name, value)
        for name, value in full.items():
            if value != value:
                raise ValueError(f"law {shown(self.name)} needs a value for {name}")
        if self.kind == "linear":
            if full["fmax_first"] == 0.0:  # no rule of its own
                full["fmax_first"] = full["fmax"]
            if full["reject_own"] == 0.0 and full["reject_b1"] == 0.0:
                full["reject_b1"] = full["b1"]
            if full["reject_own"] == 0.0 and full["reject_b1"] <= 0.0:
                raise ValueError(f"law {shown(self.name)}: reject_b1 must be positive, a rejected step has to shrink")
            if full["err_min"] > full["accept_err"]:
                # every attempt would count with an error that is never accepted
                raise ValueError(
                    f"law {shown(self.name)}: err_min {full['err_min']:g} must not "
                    f"exceed accept_err {full['accept_err']:g}"
                )
        elif self.kind == "criterion" and not (full["amuse"] or full["aarseth"] or full["prs"]):
            raise ValueError(f"law {shown(self.name)}: one of amuse, aarseth, prs must be positive")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "_full", MappingProxyType(full))
        p = np.zeros(SIZES[self.kind])
        for name, c in spec.items():
            p[c.slot] = c.store(full[name])
        if self.kind == "linear":
            p[F.P_KAPPA] = full["kappa"]
        plain = self.kind == "linear" and all(p[slot] == value for slot, value in PLAIN)
        object.__setattr__(self, "_params", p)
        object.__setattr__(self, "known", (PLAIN, ((S_LH1, 0.0), (S_LH2, 0.0))) if plain else ((), ()))

    def __copy__(self) -> Law:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        # mapping proxies cannot be pickled; what is rebuilt is checked as any law is
        texts = (self.rules, self.doc, self.source)
        return restored, (
            self.name,
            self.kind,
            dict(self.values),
            *texts,
            self.known,
            self._whole,
            self.trained_method,
            self.tolerance_scale,
        )

    def general(self) -> Law:
        """This law in the kernel that every linear law shares, whatever its extras.

        The answers are the same, some instructions slower.  It is for trying many laws on a method whose kernels take
        long to compile.
        """
        if self.kind != "linear":
            return self
        law = copy.copy(self)
        object.__setattr__(law, "known", ((), ()))
        object.__setattr__(law, "_whole", True)
        return law

    def specialised(self) -> Law:
        """This law in a kernel of its own, with every extra that it does without compiled away: a few instructions
        shorter.

        It is for laws that run alone for long, as tuned ones do.  The table's laws share two kernels, which saves
        compiling dozens.
        """
        if self.kind != "linear":
            return self
        law = copy.copy(self)
        object.__setattr__(law, "_whole", False)
        params = tuple((slot, value) for slot, value in PLAIN if self._params[slot] == value)
        idle = self._params[F.P_A2] == self._params[F.P_A3] == 0.0
        object.__setattr__(law, "known", (params, ((S_LH1, 0.0), (S_LH2, 0.0)) if idle else ()))
        return law

    @property
    def params(self) -> np.ndarray:
        """Parameter array of the formula, float64, shape (slots,), a new one each time."""
        return self._params.copy()

    @property
    def slots(self) -> frozenset[int]:
        """Record slots that the law reads beyond the error, the sizes, the order and the two marks."""
        if self.kind == "criterion":
            taus = {"amuse": record.TAU_AMUSE, "aarseth": record.TAU_AARSETH, "prs": record.TAU_PRS}
            return frozenset(slot for name, slot in taus.items() if self._full[name] > 0.0)
        newton = self.kind == "linear" and (self.newton or self._full["band_rate"] < F.HUGE)
        return frozenset({record.NEWTON_ITERS, record.NEWTON_RATE, record.LU_SHIFT}) if newton else frozenset()

    @property
    def needs(self) -> frozenset[int]:
        """Record slots without which the law cannot decide.

        A linear law needs error and order, a criterion its time scales, a constant step nothing.
        """
        return frozenset({record.ERR, record.ORDER}) if self.kind == "linear" else self.slots

    @property
    def first(self) -> Callable[..., float] | None:
        """`first(params, state, record)` is the first step size; None where the law leaves it to the method."""
        return _FIRST.get(self.kind)

    @property
    def phases(self) -> tuple[Lane, ...]:
        """One `Lane`: the formula, without the smooth or the Newton limiter where the law has none."""
        return _PHASES[self.kind] if self.kind != "linear" else _linear_phase(*self.key[1:])

    @property
    def key(self) -> tuple:
        """What to compile; coefficients are not part of it."""
        if self.kind != "linear":
            return (self.kind,)
        return ("linear", self._whole or self._full["kappa"] > 0.0, self._whole or self.newton)

    @property
    def newton(self) -> bool:
        """Whether a linear law has a Newton limiter, or rules of its own for Jacobian and LU factors."""
        spec = SPECS["linear"]
        return self._full["newton_m"] > 0.0 or any(
            self._full[name] != spec[name].default for name in ("jac_rate", "lu_keep")
        )

    init = staticmethod(F.linear_init)

    def as_dict(self) -> dict[str, float]:
        """Every coefficient with its natural value."""
        return dict(self._full)

    def __getitem__(self, coefficient: str) -> float:
        if coefficient not in self._full:
            raise unknown(f"coefficient of law {shown(self.name)}", coefficient, self._full)
        return self._full[coefficient]

    def replace(
        self, name: str | None = None, /, *, tolerance_scale: float | None = None, **coefficients: float
    ) -> Law:
        """This law with other coefficients (natural values, by name), another tolerance scale, and another name, each
        where it is given.
        """
        texts, scale = (self.rules, self.doc, self.source), tolerance_scale
        scale = self.tolerance_scale if scale is None else scale
        return Law(name or self.name, self.kind, {**self.values, **coefficients}, *texts, tolerance_scale=scale)

    def unscaled(self) -> Law:
        """This law without its tolerance scale: what searches and comparisons at equal error run."""
        law = copy.copy(self)
        object.__setattr__(law, "tolerance_scale", 1.0)
        return law

    def poles(self) -> np.ndarray:
        """Closed-loop poles on the asymptotic model E = phi h^k: roots of the characteristic cubic,
        largest modulus first.
        """
        if self.kind != "linear":
            raise ValueError(f"law {shown(self.name)} is not linear: it has no poles")
        b1, b2, b3, a2, a3 = (self._full[n] for n in ("b1", "b2", "b3", "a2", "a3"))
        roots = np.roots([1.0, b1 + a2 - 1.0, b2 - a2 + a3, b3 - a3])
        roots = np.concatenate([roots, np.zeros(3 - len(roots))])
        return roots[np.argsort(-np.abs(roots))]

    def __repr__(self) -> str:
        changes = ", ".join(f"{k}={v:.6g}" for k, v in self.values.items())
        changes += "" if self.tolerance_scale == 1.0 else f", tolerance_scale={self.tolerance_scale:.6g}"
        return f"Law({shown(self.name)}, {self.kind}, rules={shown(self.rules)}, {changes})"


def restored(
    name: str, kind: str, values: dict, rules: str, doc: str, source: str, known: tuple[tuple, tuple], whole: bool,
    trained_method: str | None = None, tolerance_scale: float = 1.0,
) -> Law:  # fmt: skip
    """A law out of a pickle, with the choices of `general` and `specialised`."""
    law = Law(name, kind, values, rules, doc, source, tolerance_scale=tolerance_scale)
    object.__setattr__(law, "known", known)
    object.__setattr__(law, "_whole", whole)
    object.__setattr__(law, "trained_method", trained_method)
    return law


def search_space(implicit: bool = False):
    """The `search.SearchSpace` of a tuner."""
    from .search import search_space as make

    return make(implicit)
