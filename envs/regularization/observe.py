"""What is observed of a training, one row a lane: ratios and logarithms, no loss, weight or clock as it stands.

held is the loss on held-out rows, nfev and steps are means of a training solve over the last decision's iterations, E h
and S h means over its steps; 0 marks the warm-up before the first decision, - the decision before this one, best the
least so far.  Each is clipped to [-BOUND, BOUND]; a ratio with a loss or an estimate that is NaN is BOUND.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...controllers.strengths.observation import BOUND, OBSERVED, bounded
from ...controllers.strengths.observation import log_ratio as _log
from .trainings import Trainings

_ONE = np.ones(())


def _of_run(name: str) -> Callable[[Trainings, int], np.ndarray]:
    """A feature that a training loop observes too."""
    formula = OBSERVED[name]
    return lambda t, n: formula(t)


#: name -> formula
FEATURES: dict[str, Callable[[Trainings, int], np.ndarray]] = {
    "log10 loss / loss0": _of_run("log10 loss / loss0"),
    "10 log10 loss / loss-": _of_run("10 log10 loss / loss-"),
    "log10 held / held0": lambda t, n: _log(t["held"], t["held0"]),
    "10 log10 held / held-": lambda t, n: _log(t["held"], t["held_before"], 10.0),
    "10 log10 held / best held": lambda t, n: _log(t["held"], t["held_best"], 10.0),
    "log2 nfev / nfev0": _of_run("log2 nfev / nfev0"),
    "log2 steps / steps0": lambda t, n: _log(t["steps"], t["steps0"], 1.0 / np.log10(2.0)),
    "log10 penalty / penalty0": _of_run("log10 penalty / penalty0"),
    "rejected share": lambda t, n: t["reject"],
    "2 + log10 mean E h": lambda t, n: 2.0 + _log(t["error"], _ONE),
    "log10 mean S h": lambda t, n: _log(t["stiff"], _ONE),
    "log10 ratio of gradients in force": _of_run("log10 ratio of gradients in force"),
    "cosine of the gradients of loss and E": _of_run("cosine of the gradients of loss and E"),
    "progress": lambda t, n: t["decision"] / n,
    "log10 ratio of E": _of_run("log10 ratio of E"),
    "log10 ratio of S": lambda t, n: t["level_s"],
    "log10 of the tolerance's factor": lambda t, n: t["level_t"],
    "5 + log10 tolerance": lambda t, n: 5.0 + np.log10(t.lanes.tolerance.numpy()),
}
#: of the spectrum of the field's Jacobian, which takes two more solves, a backward pass and a few products a decision:
#: the log of the factor by which gradients grow in a solve, and of the spectral radius (`neural.monitor`)
SPECTRUM: dict[str, Callable[[Trainings, int], np.ndarray]] = {
    "log growth of gradients": lambda t, n: np.where(np.isnan(t["growth"]), BOUND, t["growth"]),
    "log10 spectral radius": lambda t, n: _log(t["radius"], _ONE),
}
EVERY = {**FEATURES, **SPECTRUM}


#: those that need no held-out rows
OF_TRAINING = tuple(name for name in FEATURES if "held" not in name)
#: those that a training loop observes of any solver
OF_RUN = tuple(name for name in FEATURES if name in OBSERVED)
#: by the name of the option `observe`
SETS = {"all": tuple(FEATURES), "training": OF_TRAINING, "run": OF_RUN, "spectrum": tuple(EVERY)}


def observe(trainings: Trainings, decisions: int, names: tuple[str, ...] = tuple(FEATURES)) -> np.ndarray:
    """(lanes, len(names)) float32 in [-BOUND, BOUND], of a training of so many decisions."""
    return bounded([np.broadcast_to(EVERY[name](trainings, decisions), len(trainings.block)) for name in names])
