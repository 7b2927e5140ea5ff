"""Validation while training: the matched-error work ratio on the validation split against one law."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..controllers import resolve
from ..integrators import methods, problems
from ..integrators.measure import sweep
from .metric import Runs, work_ratio


class Validator:
    """Ratios of controllers against a law on `instances` of the validation split (f-evaluations at matched error).

    Instances whose reference fails its self-check stand in `dropped`.  The law's curve is measured once.
    """

    def __init__(self, family: str, method: str | None, against: str = "pi34", instances: int = 100, seed: int = 0) -> None:
        self.family = problems.family(family)
        self.method = methods.get(method or self.family.method).name
        batch = self.family.split("validation", instances, seed)
        found = self.family.reference(batch)
        ref: np.ndarray = np.zeros((len(batch), 0, batch.n)) if found is None else found.y
        ok = np.ones(len(batch), bool) if found is None else found.ok
        keep = np.flatnonzero(ok)
        self.batch, self.ref = batch[keep], np.ascontiguousarray(ref[keep])
        self.dropped = instances - keep.size
        self.base = self.runs(resolve.controller(against, family, self.method), against)

    def runs(self, controller: Any, name: str) -> Runs:
        """Errors and f-evaluations of a controller on the split, at the family's tolerances."""
        tol = np.array(self.family.tolerances)
        err, nfev = sweep(self.family, self.batch, self.ref, self.method, controller, tol)
        return Runs(name, err, {"nfev": nfev}, tol)

    def ratio(self, controller: Any) -> float:
        """exp(mean log work ratio); below 1 the controller is cheaper."""
        ratio = work_ratio(self.runs(controller, "candidate"), self.base, self.family.error_levels, intervals=False)
        assert ratio is not None  # both rows hold f-evaluations
        return ratio.figure.ratio
