"""Validation while training: the matched-error work ratio on the validation split against one law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...controllers import resolve
from ...integrators import methods, problems
from ...integrators.core.tolerance_scale import unscaled
from ...integrators.engine.costs import Costs, of_family
from ...integrators.engine.measure import sweep
from ..evaluate.metric import Runs, work_ratio


class Validator:
    """Ratios of controllers against a law on `instances` of the validation split (work at matched error).

    Instances whose reference fails its self-check stand in `dropped`.  The law's curve is measured once.
    """

    def __init__(
        self,
        family: str,
        method: str | None,
        against: Any = "pi34",
        instances: int = 100,
        seed: int = 0,
        costs: Costs | None = None,
    ) -> None:
        self.family = problems.family(problems.named(family))
        self.method = methods.named(self.family.method if method is None else method)
        batch = self.family.split("validation", instances, seed)
        found = self.family.reference(batch)
        ref: np.ndarray = np.zeros((len(batch), 0, batch.n)) if found is None else found.y
        ok = np.ones(len(batch), bool) if found is None else found.ok
        keep = np.flatnonzero(ok)
        self.batch, self.ref = batch[keep], np.ascontiguousarray(ref[keep])
        self.dropped = instances - keep.size
        self.costs = of_family(self.family.name, self.method) if costs is None else costs
        law = unscaled(resolve.controller(against, family, self.method) if isinstance(against, str) else against)
        self.base = self.runs(law, law.name)

    def runs(self, controller: Any, name: str) -> Runs:
        """Errors and weighted work of a controller on the split, at the family's tolerances."""
        tol = np.array(self.family.tolerances)
        err, work = sweep(self.family, self.batch, self.ref, self.method, controller, tol, costs=self.costs)
        return Runs(name, err, {"nfev": work}, tol)

    def ratio(self, controller: Any) -> float:
        """exp(mean log work ratio); below 1 the controller is cheaper."""
        ratio = work_ratio(self.runs(controller, "candidate"), self.base, self.family.error_levels, intervals=False)
        assert ratio is not None  # both rows hold it
        return ratio.figure.ratio


class Validators:
    """The geometric mean of several families' ratios."""

    def __init__(self, members: Sequence[Validator]) -> None:
        self.members = list(members)

    def ratio(self, controller: Any) -> float:
        """As `Validator.ratio`."""
        return float(np.exp(np.mean([np.log(m.ratio(controller)) for m in self.members])))
