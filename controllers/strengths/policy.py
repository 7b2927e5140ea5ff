"""A strength that was trained by reinforcement learning in `stepsmith/Regularization-v0`.

    strength = trained("regularization")
    loss = strength.total(task_loss, penalty, parameters, nfev=nfev)

Inside `ratio`, which measures the gradients, it sets the ratio anew after every window of `every` iterations, by what
it saw in it (`observation.OBSERVED`).  The first window goes without a penalty: what it shows is what later ones are
compared with.  It needs no validation data, and nothing is tuned on the task.  The task loss must be positive.

In the environment a window has six iterations and the first of each is measured.  Here windows are longer and `ratio`
measures every 32 iterations, which keeps its cost low: what is observed of the gradients is that of the last
measurement.
"""

from __future__ import annotations

import math
import os
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown
from ...integrators.neural.strength import Ratio, Strength, auto, ratio
from ...integrators.neural.strength.base import Seen
from .. import zoo
from ..file.layout import SUFFIX
from ..hub import is_hub
from .observation import OFF, observed, ratio_of
from .policy_file import StrengthNetwork, read

#: the zoo's
SHIPPED = "regularization"
#: iterations between two decisions where nothing else is said
EVERY = 10
#: decisions in a row for no strength at all, after which it is off
PATIENCE = 8
_MEANS = ("loss", "nfev", "error")


class PolicyStrength(Strength):
    """See the module's text.

    network     what it computes.
    values      what it remembers of the run, by the names of `observation`.
    decisions   how many there have been, and `idle`, how many of the last of them in a row were for no strength.
    """

    kind = "policy"
    remembered = (*Strength.remembered, "digest", "values", "sums", "decisions", "idle", "_count")

    def __init__(self, network: StrengthNetwork, every: int, file: str | None) -> None:
        super().__init__()
        self.network, self.every, self.file = network, every, file
        #: of the network, so that a run does not go on with another one
        self.digest = network.digest
        self.values: dict[str, float] = {"level_e": OFF}
        self.sums = [0.0] * len(_MEANS)
        self.decisions = self.idle = self._count = 0

    @property
    def level(self) -> float:
        """The ratio of the next iteration."""
        level = self.values["level_e"]
        return 10.0**level if level > OFF else 0.0

    def see(self, seen: Seen) -> float:
        if seen.nfev is None:
            raise ValueError(
                "a trained strength observes f-evaluations: pass nfev=out.solution.stats.nfev to total()"
            )
        if seen.task <= 0.0:
            self.switch_off(
                f"a trained strength observes ratios of losses, and the task loss is {seen.task:g}: "
                "add a constant to it"
            )
            return 0.0
        level = self.level
        if seen.measured is not None:
            m = seen.measured
            self.values |= {"scale_e": math.log(m.scale), "grad_e": math.log(m.now), "cosine": m.cosine}
        for i, x in enumerate((seen.task, seen.nfev, seen.size)):
            self.sums[i] += x
        self._count += 1
        if self._count >= self.every:
            self._decide()
        return level

    def _decide(self) -> None:
        """Close the window, and choose the ratio of the next one."""
        v = self.values
        first = not self.decisions
        before = v.get("loss")
        v |= dict(zip(_MEANS, (x / self._count for x in self.sums), strict=True))
        v["loss_before"] = v["loss"] if before is None else before
        if first:
            v |= {f"{name}0": v[name] for name in _MEANS}
        self.sums, self._count = [0.0] * len(_MEANS), 0
        self.decisions += 1
        if "scale_e" not in v:
            raise ValueError(
                "a trained strength is a ratio of gradients: use it as ratio(policy(...)), as load_controller gives it"
            )
        action = float(self.network(observed(v, self.network.features))[0])
        v["level_e"] = float(ratio_of(action)) if math.isfinite(action) else OFF
        self.idle = self.idle + 1 if not self.level else 0
        if self.idle >= PATIENCE:
            self.switch_off(
                f"the trained strength has chosen none {PATIENCE} times in a row: this task has no headroom"
            )

    def check_value(self, name: str, value: Any) -> None:
        if name == "values":
            fits = isinstance(value, dict) and "level_e" in value
            if not fits or not all(isinstance(x, (int, float)) for x in value.values()):
                raise ValueError(f"the state of a strength of kind {self.kind!r} is damaged: values is {value!r}")
            return
        super().check_value(name, value)
        if name == "digest" and value != self.digest:
            raise ValueError("the state is that of another trained strength: load the file that the run began with")

    def describe(self) -> dict[str, Any]:
        if self.file is None:
            raise ValueError("a trained strength is described by its file: save it (policy_file.save), and load that")
        return {"kind": self.kind, "file": self.file, "every": self.every}


def policy(file: str | os.PathLike[str] | StrengthNetwork = SHIPPED, every: int = EVERY) -> PolicyStrength:
    """A strength that was trained by reinforcement learning, for use inside `ratio`.

    file    a name of the zoo, a path, or the network itself.
    every   iterations between two decisions, at least 1.

    ValueError for an unknown name, a file that is damaged, or numbers out of range; FileNotFoundError where there is no
    such file.
    """
    every = options.count("every", every)
    if isinstance(file, StrengthNetwork):
        return PolicyStrength(file, every, None)
    if not isinstance(file, (str, os.PathLike)):
        raise options.refuse("file", "a name of the zoo or a path", file)
    return PolicyStrength(read(file), every, os.fspath(file))


def trained(file: str | os.PathLike[str] | StrengthNetwork = SHIPPED, every: int = EVERY) -> Ratio:
    """`policy` inside `ratio`, as `load_controller` gives it: ready for `total(loss, penalty, parameters, nfev=)`."""
    return ratio(policy(file, every))


def as_strength(given: Any) -> Any:
    """What `strength=` takes: a text is "auto", the name of a trained strength or the path of its file; all else as it
    is.  ValueError for an unknown name."""
    if not isinstance(given, str):
        return given
    if given == "auto":
        return auto()
    if not is_hub(given) and not given.endswith(SUFFIX) and not os.path.dirname(given) and given not in zoo.strengths():
        raise unknown("strength", given, ["auto", *zoo.strengths()])
    return trained(given)
