"""A learned controller watched on one instance, beside the law that it is built on at the same tolerance.

This shows what a controller does, attempt by attempt.  It is no comparison: at one tolerance the two reach different
errors, and one instance says little (`train.evaluate.compare` compares).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.file import load_learned
from ...controllers.laws import registry
from ...controllers.learned.network import Learned
from ...integrators import methods, problems
from ...integrators.core import options, record
from ...integrators.core.contract import ACCEPT
from ...integrators.engine.measure import errors
from ...integrators.engine.solve import solve
from ...integrators.problems import suites
from ...integrators.problems.families import Family
from ...integrators.problems.problem import Batch, Problem
from ..run.runfiles import read_json

MAX_STEPS = 50_000
#: columns of the table that `cells` fills
COLUMNS = ("controller", "evaluations of f", "Jacobians", "LU", "accepted", "rejected", "error", "")


@dataclass(frozen=True)
class Seen:
    """What one controller did.

    name        what it is called
    t, y        (steps + 1,) and (steps + 1, n): start and accepted steps
    at          (attempts,): the time before each attempt
    size        (attempts,): its size, positive
    scaled      (attempts,): its scaled error; 1 is the tolerance
    accepted    (attempts,): whether it was accepted
    error       the family's error of the whole solve; inf where it did not reach the end, NaN without a reference
    message     how the solve ended
    counts      evaluations and attempts by name
    """

    name: str
    t: np.ndarray
    y: np.ndarray
    at: np.ndarray
    size: np.ndarray
    scaled: np.ndarray
    accepted: np.ndarray
    error: float
    message: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Watched:
    """One instance under both controllers: `learned` and `law`.

    nbody: (bodies, dimension) of the instance, or None.  doubtful: its reference failed its self-check.
    """

    family: str
    method: str
    instance: int
    seed: int
    rtol: float
    learned: Seen
    law: Seen
    nbody: tuple[int, int] | None
    doubtful: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data without the attempts."""
        facts = {k: getattr(self, k) for k in ("family", "method", "instance", "seed", "rtol")}
        rows = [
            {"controller": s.name, **s.counts, "error": s.error if np.isfinite(s.error) else None, "message": s.message}
            for s in (self.learned, self.law)
        ]
        return {**facts, "reference_passed": not self.doubtful, "rows": rows}


def cells(watched: Watched) -> list[tuple[str, ...]]:
    """A row of text for each controller, in the order of `COLUMNS`."""
    names = ("nfev", "njev", "nlu", "naccept", "nreject")
    return [
        (s.name, *(f"{s.counts[n]:,}" for n in names), f"{s.error:.3g}", "" if np.isfinite(s.error) else s.message)
        for s in (watched.learned, watched.law)
    ]


def load(run: str | Path) -> Learned:
    """The controller of a run folder, of a seed's folder of `stepsmith bench run`, of a controller file, or of the zoo.

    ValueError naming what is there instead: a run that has validated nothing yet, one whose policy is no controller, a
    classical law.
    """
    if str(run) in registry.names():
        raise ValueError(
            f"{run} is a classical law: give a learned controller, which is shown beside the law that it is built on"
        )
    path = Path(run)
    if not (path / "config.json").exists() and (path / "run" / "config.json").exists():
        path /= "run"
    if path.is_dir():
        if (path / "controller.safetensors").exists():
            return load_learned(path / "controller.safetensors")
        if any((path / name).exists() for name in ("policy.zip", "strength.safetensors")):
            env = read_json(path / "config.json").get("env", {}) if (path / "config.json").exists() else {}
            raise ValueError(
                f"{path}: its policy plays {env.get('id', 'another environment')} and is no controller of step sizes: "
                "take a run of another environment"
            )
        there = (
            "has no controller yet: one is written by the first validation"
            if (path / "config.json").exists()
            else ("is no run folder: it holds neither config.json nor controller.safetensors")
        )
        raise ValueError(f"{path} {there}")
    return load_learned(str(run))


def watch(
    controller: Learned,
    family: str | None = None,
    method: str | None = None,
    instance: int = 0,
    seed: int = 0,
    rtol: float | None = None,
) -> Watched:
    """Solve instance number `instance` of the test split, drawn with `seed`, with the controller and with its law.

    family, method    None: what the controller was trained on, of a suite its first family
    rtol              relative tolerance of both; None: the middle one of the family's grid

    Raises ValueError for a controller whose file does not say what it was trained on, and on bad values.
    """
    name = family if family is not None else controller.family
    if not name:
        raise ValueError("the controller's file does not name the family that it was trained on: give --family")
    if suites.is_suite(name):
        several = suites.get(name).families
        if family is not None:
            raise options.OptionError(f"family must be one family, and {name} is a suite of {', '.join(several)}")
        name = several[0]
    fam = problems.family(problems.named(name))
    method = method if method is not None else controller.trained_method or fam.method
    options.count("instance", instance, low=0, high=100_000)
    tol = (
        fam.tolerances[len(fam.tolerances) // 2] if rtol is None else options.number("rtol", rtol, above=0.0, high=1.0)
    )
    meth = methods.registered(method)
    batch = fam.split("test", instance + 1, seed)[instance : instance + 1]
    found = fam.reference(batch)
    ref = np.zeros((1, 0, fam.n)) if found is None else found.y
    law = controller.decision.law
    learned = _solved(controller, controller.name, fam, batch, ref, meth, tol)
    plain = _solved(law, f"its law, {law.name}", fam, batch, ref, meth, tol)
    doubtful = found is not None and not bool(found.ok[0])
    return Watched(fam.name, meth, instance, seed, tol, learned, plain, batch.nbody, doubtful)


def _solved(
    controller: Any, name: str, family: Family, batch: Batch, ref: np.ndarray, method: str, rtol: float
) -> Seen:
    problem: Problem = batch[0]
    atol = rtol * family.atol_factor
    sol = solve(problem, method, controller, rtol, atol, max_steps=MAX_STEPS, log=True)
    assert sol.record is not None  # log was given
    log = sol.record
    # outputs between steps may cost evaluations, which are not the controller's: a solve of their own
    out = solve(
        problem, method, controller, rtol, atol, batch.times(family.fractions)[0], max_steps=MAX_STEPS, log=True
    )
    done = np.array([out.success])
    y = (
        out.y
        if out.y.shape == (len(family.fractions), family.n)
        else np.full((len(family.fractions), family.n), np.nan)
    )
    error = float(errors(family, batch, y[None], ref, done)[0])
    t0, t1 = problem.t_span
    counts = {"nfev": sol.stats.nfev, "njev": sol.stats.njev, "nlu": sol.stats.nlu, "naccept": sol.stats.naccept,
              "nreject": sol.stats.nreject}  # fmt: skip
    return Seen(
        name, sol.t, sol.y, t1 - np.sign(t1 - t0) * log[:, record.T_LEFT], np.abs(log[:, record.H]),
        log[:, record.ERR], log[:, record.N_RECORD + ACCEPT] == 1.0, error, sol.message,
        {k: int(v) for k, v in counts.items()},
    )  # fmt: skip
