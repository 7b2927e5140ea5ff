"""Settings tuned while a sequence of related problems is solved: `tuner = stepsmith.online(arms=...)`.

    tuner = ss.online(arms={"controller": ["i", "pi34"], "safety": [.7, .8, .9]})
    for problem in problems:
        sol = tuner.solve(problem, rtol=1e-6)

Each solve plays one arm and teaches a bandit what it cost; no solve is made twice.  Source: M. Khodak, E. Chow, M.-F.
Balcan & A. Talwalkar, "Learning to Relax", ICLR 2024.

What the bandit is told of a solve of cost c:

- c, or c max(1, error/wanted_error) where `wanted_error` is given, but never more than the penalty;
- the penalty where the solve failed, or where its cost or error is NaN or infinite.

The penalty is l + max(|l|, l - s), of the largest and the least cost l, s of the solves that did not fail so far (1
where this is 0): twice the largest cost, or more, where costs are positive.  A failure before any cost is known teaches
nothing.  A method of order p makes the error r times smaller for r^(1/p) times the work: with a factor of
error/wanted_error, an arm that is too loose never pays.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...integrators.core import options
from ...integrators.core.errors import OptionError, refuse, shown
from ...integrators.engine.solve import Solution
from ...integrators.engine.solve import solve as solve_one
from ...integrators.problems.problem import Problem
from . import arms as arms_
from . import files, given
from .bandit import LARGEST_COST, Bandit


class Tuner:
    """A bandit over settings of a solve; `stepsmith.online` makes one and says what its arguments are.

    arms: a tuple, whose order is that of every array here.  One solve at a time: `solve`, and `ask` with its `tell`,
    may be called from any thread; solves from several threads wait for each other, and an `ask` while an arm is out is
    an error, whichever thread it comes from.  A tuner with functions that can be pickled can be pickled between a
    `tell` and the next `ask`.
    """

    def __init__(
        self, arms: Any, feedback: Any, context: Any, bandit: Any, error: Any, wanted_error: Any, context_range: Any,
        seed: Any,
    ) -> None:  # fmt: skip
        self.arms: tuple[Any, ...] = arms_.given(arms)
        self.feedback = given.feedback(feedback)
        for name, value in (("context", context), ("error", error)):
            if value is not None and not callable(value):
                raise refuse(name, "a function or None", value)
        self.context, self.error = context, error
        self.wanted_error = options.positive("wanted_error", wanted_error, none=True)
        if error is not None and wanted_error is None:
            raise OptionError("error needs wanted_error, the error above which a solve costs more")
        if feedback is not None:
            arms_.check_names(self.arms)
            if wanted_error is not None and error is None:
                raise OptionError("wanted_error needs error, a function that gives the error of a solution")
        self._by_cost_alone = isinstance(feedback, str) and error is None
        if self._by_cost_alone:
            arms_.check_accuracy(self.arms)
            if all(arm.get("controller") != "tuned" for arm in self.arms):
                arms_.check_acceptance(arms_.settings(arm, None, {})["controller"] for arm in self.arms)
        self.bandit = given.bandit(bandit, len(self.arms), context_range, options.count("seed", seed, low=0))
        if context is not None and not self.bandit.contextual:
            raise OptionError(f"bandit {self.bandit.name!r} reads no context: take bandit='chebyshev', or leave it out")
        if feedback is not None and context is None and self.bandit.contextual:
            raise OptionError(f"bandit {self.bandit.name!r} needs context, a function that gives a problem's number")
        #: arms played, costs (NaN: failed), what the bandit was told (NaN: nothing), whether the error was too large
        self.history: list[tuple[int, float, float, bool]] = []
        self._least, self._largest = math.inf, -math.inf
        self._out: tuple[int, float | None] | None = None
        self._lock = threading.RLock()
        #: controllers of the arms, in their order, by what is asked for beside the arms
        self._controllers: dict[Any, tuple[list[Any], list[Any]]] = {}

    # ------------------------------------------------------------------------------------------------- ask and tell

    def ask(self, context: float | None = None) -> Any:
        """The arm to play next (a copy, where it is a mapping); `tell` has to follow.

        context: the number of this round, for a bandit that reads one.  OptionError where an arm is out already, and
        where a context is missing or not read.
        """
        with self._lock:
            if self._out is not None:
                raise OptionError("ask was called twice: tell the cost of the arm that is out first (NaN: it failed)")
            if context is not None and not self.bandit.contextual:
                raise OptionError(f"bandit {self.bandit.name!r} reads no context, got {shown(context)}")
            number = self.bandit.checked(context)
            index = self.bandit.draw(number)
            self._out = index, number
            arm = self.arms[index]
            return dict(arm) if isinstance(arm, Mapping) else arm

    def tell(self, cost: float, error: float | None = None) -> None:
        """What the arm of the last `ask` cost, and the error it made where there is a `wanted_error`.

        NaN and infinities, and costs beyond 1e100, count as a failure.  OptionError, and the arm stays out, where they
        are no numbers, where an error is missing or not wanted, and where no arm is out.
        """
        with self._lock:
            if self._out is None:
                raise OptionError("tell was called without an ask: ask for an arm first")
            if (error is None) != (self.wanted_error is None):
                raise OptionError("tell takes an error if the tuner has a wanted_error, and only then")
            value, made = given.any_number("cost", cost), 0.0 if error is None else given.any_number("error", error)
            (index, context), bound = self._out, self.wanted_error
            failed = not (abs(value) <= LARGEST_COST and math.isfinite(made))
            large = not failed and bound is not None and made > bound
            if not failed:
                self._least, self._largest = min(self._least, value), max(self._largest, value)
            told = math.nan
            if self._largest > -math.inf:
                told = self.penalty if failed else value
                if large:
                    told = min(value * (made / bound), self.penalty) if value > 0.0 else self.penalty
                told = min(told, LARGEST_COST)
                self.bandit.update(index, told, context)
            self.history.append((index, math.nan if failed else value, told, large))
            self._out = None

    @property
    def out(self) -> bool:
        """Whether an arm is out: asked for, and its cost not told yet."""
        return self._out is not None

    @property
    def _played(self) -> int:
        """The index of the arm that is out."""
        assert self._out is not None
        return self._out[0]

    @property
    def penalty(self) -> float:
        """What a failure costs now; NaN while no cost is known."""
        if self._largest == -math.inf:
            return math.nan
        return self._largest + (max(abs(self._largest), self._largest - self._least) or 1.0)

    # -------------------------------------------------------------------------------------------------------- solve

    def solve(self, problem: Problem, **keywords: Any) -> Solution:
        """Solve one `Problem` with the arm that is drawn for it, learn from it, and return the `Solution`.

        keywords: those of `stepsmith.solve` that the arms do not set (rtol, atol, method, t_eval, first_step,
        max_steps, log).  Raises what `stepsmith.solve` raises; then nothing is learned.
        """
        if self.feedback is None:
            raise OptionError("solve needs a feedback, and this tuner has None: use ask and tell")
        if not isinstance(problem, Problem):
            raise refuse("problem", "a Problem", problem)
        options.check_names("solve()", keywords, _SOLVE)
        with self._lock:
            for arm in self.arms:
                arms_.check_apart(arm, keywords)
            controllers = self._controllers_for(problem.family, keywords)
            arm = self.ask(None if self.context is None else self.context(problem))
            try:
                own = {name: value for name, value in arm.items() if name in arms_.KEYWORDS}
                sol = _solved(problem, **{**keywords, **own, "controller": controllers[self._played]})
                failed = not sol.success
                cost = math.nan if failed else self.feedback(sol)
                made = math.nan if failed else self._error_of(sol, problem)
                self.tell(cost, made if self.wanted_error is not None else None)
            finally:
                self._out = None
            return sol

    def settings(self, arm: Mapping[str, Any], problem: Problem, **keywords: Any) -> dict[str, Any]:
        """The keywords with which `stepsmith.solve(problem, ...)` plays an arm: its law made from name and
        coefficients, and the `keywords` that it does not set."""
        return arms_.settings(arm, problem.family, keywords)

    def _error_of(self, sol: Solution, problem: Problem) -> Any:
        if self.error is None:
            return None
        return self.error(sol, problem) if given.takes_two(self.error) else self.error(sol)

    def _controllers_for(self, family: str | None, keywords: Mapping[str, Any]) -> list[Any]:
        """The controllers of the arms on this family with these keywords, made and compared once."""
        beside = [keywords.get(name) for name in ("method", "controller")]
        key = family, *(one if isinstance(one, str) else id(one) for one in beside)
        if key not in self._controllers:
            found = [arms_.settings(arm, family, keywords)["controller"] for arm in self.arms]
            if self._by_cost_alone:
                arms_.check_acceptance(found)
            self._controllers[key] = beside, found  # what is kept has an id that nothing else gets
        return self._controllers[key][1]

    # --------------------------------------------------------------------------------------------- what was learned

    def regret(self, costs: Any) -> np.ndarray:
        """Cumulative regret, shape (T,), from a table of the costs of all arms in each of the T rounds, (T, arms).

        Entry t is the table's cost of the arms that were played in rounds 0 ... t, less that of the one arm that is
        cheapest over all T rounds.  OptionError for another shape, and for costs that are not finite.
        """
        table = np.asarray(costs, dtype=np.float64)
        shape = (len(self.history), len(self.arms))
        if table.shape != shape:
            raise OptionError(f"costs must have shape {shape} (rounds, arms), got {table.shape}")
        if not np.all(np.isfinite(table)):
            raise OptionError("costs must be finite")
        if not self.history:
            return np.zeros(0)
        played = table[np.arange(len(table)), [one[0] for one in self.history]]
        return np.cumsum(played - table[:, int(table.sum(axis=0).argmin())])

    def report(self) -> dict[str, Any]:
        """What was played and what it cost, as JSON values (`files.report`)."""
        return files.report(self)

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """Draw the running mean of costs and the plays of the arms into `path` (.png, .svg or .pdf); returns it."""
        from .picture import draw

        return draw(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that was learned to a JSON file, replacing it in one move (`files.save`)."""
        with self._lock:
            files.save(self, path)

    def load(self, path: str | os.PathLike[str]) -> Tuner:
        """Take up what `save` wrote from a tuner with the same arms and bandit; returns this tuner.

        What follows is what would have followed there.  ValueError naming the file, and nothing is changed, where it
        is of another tuner or damaged.
        """
        with self._lock:
            files.load(self, path)
        return self

    def take(self, history: list[tuple[int, float, float, bool]]) -> None:
        """Let `history` be that of this tuner, with the least and the largest cost in it (for `files.load`)."""
        known = [one[1] for one in history if not math.isnan(one[1])]
        self._least, self._largest = min(known, default=math.inf), max(known, default=-math.inf)
        self.history = history

    def __getstate__(self) -> dict[str, Any]:
        if self.out:
            raise OptionError("an arm is out: tell its cost before the tuner is pickled")
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_controllers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _controllers={})
        self._lock = threading.RLock()


_SOLVE = ("method", "controller", "rtol", "atol", "t_eval", "first_step", "max_steps", "log")


@options.named
def online(
    arms: Any,
    feedback: Any = "nfev",
    *,
    context: Callable[[Problem], float] | None = None,
    bandit: str | Bandit = "tsallis",
    error: Callable[..., float] | None = None,
    wanted_error: float | None = None,
    context_range: tuple[float, float] | None = None,
    seed: int = 0,
) -> Tuner:
    """A `Tuner`, which learns from one solve to the next which of the arms costs least.

    arms: a list of mappings of `stepsmith.solve`'s keywords and of coefficients of a law, or a mapping of lists, which
    stands for their product.  feedback: what a solve costs: "nfev" (right-hand sides), "wall" (seconds), a function of
    the `Solution`, or None, where arms are anything and costs come by `tell`.  context: a function of the problem that
    gives the number which bandit "chebyshev" reads, within context_range.  bandit: "tsallis", "chebyshev",
    "epsilon_greedy", "fixed" (the first arm), or a `Bandit` with as many arms.  error: a function of the solution, or
    of the solution and the problem, that gives its error, and wanted_error, above which a solve costs more; both are
    needed with "nfev" and "wall" where arms differ in rtol, atol, method or in which errors their laws accept.  seed: a
    whole number; the same seed and costs give the same plays (a `Bandit` that is given has its own).

    Raises OptionError (ValueError and TypeError) for bad input.
    """
    return Tuner(arms, feedback, context, bandit, error, wanted_error, context_range, seed)


def _solved(problem: Problem, controller: Any, method: Any = "tsit5", **keywords: Any) -> Solution:
    """`stepsmith.solve` with a controller object."""
    if problem.state is None:
        return solve_one(problem, method, controller, **keywords)
    atol = problem.state.scales(keywords.pop("atol", 1e-9))
    sol = solve_one(problem, method, controller, atol=atol, **keywords)
    sol.y = problem.state.shaped(sol.y)
    return sol
