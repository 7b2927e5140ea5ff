"""From a network to a closed form: imitation on the states that it visits.

The teacher steps trajectories of the compiled environment, and the student, a linear residual on the same
law, is fitted to its actions by least squares.  Then the student steps them itself while the teacher says what it would
have done there (DAgger: Ross, Gordon & Bagnell 2011, AISTATS), so that the fit holds where the student goes.  What
imitation leaves open is for a fine-tuning by evolution strategy (`[policy] start` of a training config).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..controllers.learned.decision import Decision
from ..controllers.learned.network import Learned
from ..controllers.learned.observation import HUGE
from ..integrators.core import options

#: by how much squared weights are charged beside the mean squared difference of actions
RIDGE = 1e-6


@dataclass(frozen=True)
class Imitation:
    """What an imitation found.

    controller    the closed form
    means         (n_obs,) what its features are on average
    explained     (n_act,) share of the variance of the teacher's actions that it explains on the last round's states,
                  which the fit has seen; NaN where an action does not vary
    states        how many states it was fitted to
    """

    controller: Learned
    means: np.ndarray
    explained: np.ndarray
    states: int


class Stepper(Protocol):
    """Trajectories that step together: the batch core of an environment (`envs.core.Core`)."""

    obs: np.ndarray

    def reset(self) -> np.ndarray: ...

    def step(self, actions: np.ndarray) -> int: ...


def imitate(
    teacher: Learned, make: Callable[[Decision], Stepper], features: Sequence[str] | None = None, *, rounds: int = 3,
    steps: int = 400,
) -> Imitation:  # fmt: skip
    """A closed form that decides as `teacher` does, as far as its features allow.

    teacher     a learned controller
    make        makes the trajectories, of which it is given the decision: that observes what either of the two does
    features    of the student, products among them; None: the teacher's
    rounds      the first on the teacher's states, the others on the student's
    steps       decisions a round, in every trajectory

    Raises OptionError for values out of range, ValueError for unknown names.
    """
    if not isinstance(teacher, Learned):
        raise options.refuse("teacher", "a learned controller", teacher)
    if teacher.frames != 1:
        raise options.OptionError(f"{teacher.name} sees {teacher.frames} observations at once: one is imitated")
    for name, value in (("rounds", rounds), ("steps", steps)):
        options.count(name, value)
    known = teacher.decision
    mine = known.replace(observation=known.observation.features if features is None else tuple(features), obs_clip=HUGE)
    both = list(dict.fromkeys([*known.observation.features, *mine.observation.features]))
    stepper = make(known.replace(observation=tuple(both), obs_clip=HUGE))
    his, own = _columns(both, known), _columns(both, mine)
    student: Learned | None = None
    seen: list[np.ndarray] = []
    wanted: list[np.ndarray] = []
    for _ in range(rounds):
        obs, asked = _rollout(stepper, teacher, student, his, own, steps)
        seen.append(obs)
        wanted.append(asked)
        student = _fitted(mine, np.concatenate(seen), np.concatenate(wanted), teacher)
    assert student is not None  # there is at least one round
    got = student.action_numpy(seen[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = wanted[-1].var(axis=0)
        explained = np.where(spread > 0, 1.0 - np.square(got - wanted[-1]).mean(axis=0) / spread, np.nan)
    states = np.concatenate(seen)
    return Imitation(student, states.mean(axis=0), explained, len(states))


def _columns(names: list[str], decision: Decision) -> np.ndarray:
    return np.array([names.index(name) for name in decision.observation.features])


def _rollout(
    core: Stepper, teacher: Learned, student: Learned | None, his: np.ndarray, own: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(observations of the student (steps*lanes, n), the teacher's actions there): the student steps, or the teacher
    where there is none yet.
    """
    d = teacher.decision
    seen, wanted = [], []
    core.reset()
    for _ in range(steps):
        obs = np.array(core.obs, dtype=np.float64)
        normal = np.clip((obs[:, his] - d.shift) * d.scale, -d.obs_clip, d.obs_clip)
        asked = np.nan_to_num(np.clip(teacher.action_numpy(normal), -1.0, 1.0))
        seen.append(obs[:, own])
        wanted.append(asked)
        made = asked if student is None else np.nan_to_num(student.action_numpy(obs[:, own]))
        core.step(made)
    return np.concatenate(seen), np.concatenate(wanted)


def _fitted(decision: Decision, obs: np.ndarray, asked: np.ndarray, teacher: Learned) -> Learned:
    """Least squares of the teacher's actions on the features."""
    x = np.concatenate([obs, np.ones((len(obs), 1))], axis=1)
    gram = x.T @ x / len(x) + RIDGE * np.eye(x.shape[1])
    solved = np.linalg.solve(gram, x.T @ asked / len(x)).T
    facts = {**teacher.provenance, "distilled_from": teacher.name}
    return Learned(
        decision, [(solved[:, :-1], solved[:, -1], "linear")], "clip", name=f"{teacher.name}, linear",
        family=teacher.family, provenance=facts,
    )  # fmt: skip
