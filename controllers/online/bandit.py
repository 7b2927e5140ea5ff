"""What every bandit has: a number of arms, one generator, probabilities, a draw, an update, and a state as JSON values.

A *bandit* chooses one of K *arms* a round, and is told the cost of the arm that was played and of no other.  Nothing
here knows what an arm stands for: solver settings (`online`), relaxation parameters, strengths of a regulariser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...integrators.core import options
from ...integrators.core.errors import OptionError, refuse, shown

#: costs beyond this, of either sign, are refused: their squares and sums would leave the float64 range
LARGEST_COST = 1e100
#: beside the seed: costs that a user draws from `np.random.default_rng(seed)` must not follow the draws of arms
STREAM = 0x42414E44


class Bandit:
    """Base of the bandits: arms 0 ... arms - 1, and a `numpy.random.Generator` of its own from `seed` (a whole number).

    A subclass gives `probabilities` and `_learn`, and names in `_kept` the attributes that a saved state holds: numbers
    and float64 arrays.  contextual: whether it needs a context, a number, each round.
    """

    name = ""
    contextual = False
    _kept: tuple[str, ...] = ()

    def __init__(self, arms: int, seed: int = 0) -> None:
        self.arms = options.count("arms", arms, high=10_000)
        self.rng = np.random.default_rng([options.count("seed", seed, low=0), STREAM])
        #: updates so far
        self.rounds = 0

    def probabilities(self, context: float | None = None) -> np.ndarray:
        """The probability of each arm in the next draw, shape (arms,), float64, with sum 1."""
        raise NotImplementedError

    def _learn(self, arm: int, cost: float, context: float | None) -> None:
        raise NotImplementedError

    def draw(self, context: float | None = None) -> int:
        """An arm for the next round, drawn by `probabilities`; it changes the generator and nothing else."""
        reached = np.cumsum(self.probabilities(context))
        # the draw is below the sum, so that the first sum above it belongs to an arm whose probability is not zero
        return int(np.searchsorted(reached, self.rng.random() * reached[-1], side="right"))

    def update(self, arm: int, cost: float, context: float | None = None) -> None:
        """Learn the cost of a round in which `arm` was drawn by the present probabilities.

        OptionError for an arm that there is not, and for a cost that is NaN, infinite or beyond 1e100: what a failure
        costs is for the caller to say.
        """
        arm = options.count("arm", arm, low=0, high=self.arms - 1)
        cost = options.number("cost", cost, -LARGEST_COST, LARGEST_COST)
        self._learn(arm, cost, self.checked(context))
        self.rounds += 1

    def checked(self, context: float | None) -> float | None:
        """The context of a round as a finite float, or None where the bandit reads none."""
        if not self.contextual:
            return None
        if context is None:
            raise OptionError(f"bandit {self.name!r} needs a context, a number, in each round")
        return float(options.number("context", context))

    def state(self) -> dict[str, Any]:
        """All that the bandit has learned, and its generator, as JSON values."""
        kept = {name: np.asarray(getattr(self, name)).tolist() for name in self._kept}
        own = {"bandit": self.name, "arms": self.arms, "rounds": self.rounds}
        return {**own, "rng": self.rng.bit_generator.state, **kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state` of a bandit of the same kind and number of arms.

        OptionError, and nothing is changed, where it is of another bandit or damaged.
        """
        if state.get("bandit") != self.name or state.get("arms") != self.arms:
            found = f"bandit {shown(state.get('bandit'))} with {shown(state.get('arms'))} arms"
            raise OptionError(f"state must be of bandit {self.name!r} with {self.arms} arms, got one of {found}")
        missing = [name for name in ("rounds", "rng", *self._kept) if name not in state]
        if missing:
            raise OptionError(f"state of bandit {self.name!r} is damaged: {', '.join(missing)} missing")
        found_values = {name: self._like(name, state[name]) for name in self._kept}
        rounds = options.count("rounds", state["rounds"], low=0)
        rng = np.random.default_rng()
        try:
            rng.bit_generator.state = state["rng"]
        except (ValueError, TypeError, KeyError):
            raise OptionError("state of the generator is damaged") from None
        self.rng, self.rounds = rng, rounds
        for name, value in found_values.items():
            setattr(self, name, value)

    def _like(self, name: str, value: Any) -> Any:
        """A saved value in the form of the attribute that it belongs to."""
        own = np.asarray(getattr(self, name))
        try:
            found = np.array(value, dtype=np.float64)
        except (ValueError, TypeError):
            raise refuse(f"{name} of the state", "numbers", value) from None
        if found.shape != own.shape or not np.all(np.isfinite(found)):
            raise OptionError(f"{name} of the state must be finite, of shape {own.shape}, got shape {found.shape}")
        return found if own.ndim else type(getattr(self, name))(found)
