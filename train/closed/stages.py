"""The stages of the search: learn on all features, make a constant of the acceptance threshold, let the law take over
what it has gains for, leave out what does not pay, add products, polish.

The objective is the evolution strategy's fitness (mean log work at equal error on training instances) plus the log of
what an attempt costs with the features that are there (`feature_costs`), so that a feature stays where it saves more
than it takes.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from ...controllers.learned.decision import Decision
from ...controllers.learned.network import Learned
from ...controllers.learned.products import parts, same
from ...integrators.core import options
from ...integrators.core.contract import ACCEPT_MAX
from ...policies import closed_form
from ..algorithms import evolution
from ..config.algorithms import CLOSED
from ..config.settings import check

#: steps of the biases that are tried where a feature goes, times its weight
SHIFTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
#: weights that a product is tried with
TRIED = (-0.15, 0.15)
#: how many products of a stage are learnt on, of those that a try puts first
TAKEN = 2
#: acceptance thresholds that are tried as a constant, times the learned one's mean
FACTORS = (0.5, 1.0, 2.0)
#: features that a law has gains for
GAINS = {"log_err": "b1", "log_err_1": "b2", "log_err_2": "b3", "log_ratio_1": "a2", "log_ratio_2": "a3"}
#: gains that cost nothing under any law; another one costs what its feature does, unless the law has it anyway
ALWAYS = ("b1", "b2")
#: coefficients of the law that stages change
CHANGED = ("accept_err", *GAINS.values(), "reject_b1")


@dataclass(frozen=True)
class Settings(evolution.Settings):
    """Those of the evolution strategy (`generations`: of the first stage), and:

    refine          generations after a feature or a product has gone or come
    polish          generations of the last stage
    products        how many products of two features may come
    most_numbers    numbers that the formula may have
    worse           by how much the objective may grow (log) where a feature goes
    """

    generations: int = 150
    refine: int = 40
    polish: int = 80
    products: int = 1
    most_numbers: int = closed_form.MOST_NUMBERS
    worse: float = 0.002

    def __post_init__(self) -> None:
        for name, value in check("train", vars(self), CLOSED).items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Found:
    """What a stage ended with.

    what          what it did, in words
    controller    its closed form
    objective     log work ratio plus log cost
    refused       features that were tried without, and are needed
    products      products that have come
    done          which parts are over: the threshold's, the law's, leaving out, adding, polishing
    """

    what: str
    controller: Learned
    objective: float
    refused: tuple[str, ...] = ()
    products: int = 0
    done: tuple[bool, ...] = (False,) * 5

    def state(self) -> dict[str, Any]:
        """Plain data of it, for a checkpoint."""
        return {
            "what": self.what, "features": list(self.controller.decision.observation.features),
            "weights": self.controller.weights, "objective": self.objective, "refused": list(self.refused),
            "products": self.products, "done": [bool(v) for v in self.done],
            "actions": [action.name for action in self.controller.decision.actions],
            "law": {k: float(v) for k, v in self.controller.decision.law.as_dict().items() if k in CHANGED},
        }  # fmt: skip

    @classmethod
    def restored(cls, state: dict[str, Any], first: Learned) -> Found:
        """What `state` was saved of."""
        before = first.decision.law.as_dict()
        changes = {k: float(v) for k, v in state["law"].items() if v != before[k]}
        if changes or len(state["actions"]) != first.decision.n_act:
            first = on_law(first, changes, size_alone=len(state["actions"]) < first.decision.n_act)
        controller = closed_form.selected(first, state["features"]).with_weights(state["weights"])
        return cls(
            state["what"], controller, float(state["objective"]), tuple(state["refused"]), int(state["products"]),
            tuple(bool(v) for v in state["done"]),
        )  # fmt: skip


class Search:
    """The search from a first closed form; iterate over `stages`.

    fitness     less is better
    log_cost    of a controller's features and actions, or of all but one (`FeatureCosts.log_cost`)
    seed        of the strategy and of the instances
    order       exponent order of the method's error estimate
    """

    def __init__(
        self, first: Learned, fitness: evolution.Scores, log_cost: Callable[..., float], settings: Settings, seed: int,
        order: float,
    ) -> None:  # fmt: skip
        self.first, self.fitness, self.log_cost, self.settings, self.seed = first, fitness, log_cost, settings, seed
        self.order = order
        least = 2 * first.decision.n_act
        if settings.most_numbers < least:
            takes = f"at least {least} for {first.decision.n_act} actions"
            raise options.refuse("[train] most_numbers", takes, settings.most_numbers)

    def objective(self, controller: Learned) -> float:
        """Log work ratio and log cost."""
        return self.fitness(controller) + self.log_cost(controller)

    def stages(self, found: Found | None = None) -> Iterator[Found]:
        """Every stage's end; `found`: go on after this one."""
        s = self.settings
        self._draw()
        if found is None:
            first = self._learn(self.first, s.generations, s.sigma)
            found = Found("all features", first, self.objective(first))
            yield found
        for part, step in enumerate((self._constant_threshold, self._into_law, self._leave_out, self._add)):
            while not found.done[part]:
                if 0 < s.total_steps <= self.fitness.attempts:
                    yield replace(found, what="the budget of attempts is spent", done=(True,) * len(found.done))
                    return
                found = step(found)
                yield found
        if not found.done[4]:
            better = self._learn(found.controller, s.polish, s.sigma / 4)
            value = self.objective(better)
            best = (better, value) if value < found.objective else (found.controller, found.objective)
            yield replace(found, what="polished", controller=best[0], objective=best[1], done=_over(found, 4))

    def _learn(self, controller: Learned, generations: int, sigma: float) -> Learned:
        """The mean of the strategy's last generation."""
        if generations == 0:
            return controller
        settings = replace(self.settings, generations=generations, sigma=sigma)
        means = (mean for *_, mean in evolution.evolve(controller, _Stretch(self.fitness, settings), self.seed))
        last = deque(means, maxlen=1)
        self._draw()
        return last[0] if last else controller

    def _draw(self) -> None:
        """The instances of the first draw: objectives of different stages are compared on these alone."""
        self.fitness.draw(np.random.default_rng([self.seed, 77, 0]))

    def _constant_threshold(self, found: Found) -> Found:
        """With a constant in the place of the learned acceptance threshold, where that pays."""
        s, d, done = self.settings, found.controller.decision, _over(found, 0)
        if [action.name for action in d.actions] != ["residual", "threshold"] or d.law.as_dict()["accept_factor"] > 0.0:
            return replace(found, what="the threshold stays as it is", done=done)
        _, bias = closed_form.matrix(found.controller)
        accept = d.law.as_dict()["accept_err"] * math.exp(d.threshold_scale * float(np.clip(bias[1], -1.0, 1.0)))
        tries = [
            on_law(found.controller, {"accept_err": min(accept * factor, ACCEPT_MAX)}, size_alone=True)
            for factor in FACTORS
        ]
        best = min(tries, key=self.objective)
        learned = self._learn(best, s.refine, s.sigma / 2)
        value = min((self.objective(learned), 0, learned), (self.objective(best), 1, best), key=lambda t: t[:2])
        if value[0] <= found.objective + s.worse:
            what = f"a threshold of {best.decision.law.as_dict()['accept_err']:.4g}"
            return replace(found, what=what, controller=value[2], objective=value[0], done=done)
        return replace(found, what="the threshold is needed", done=done)

    def _into_law(self, found: Found) -> Found:
        """With the terms that the law has gains for, in errors and step ratios, as gains of the law."""
        s, done, names = self.settings, _over(found, 1), list(found.controller.decision.observation.features)
        law = found.controller.decision.law
        moved = law.as_dict()
        gains = {name: gain for name, gain in GAINS.items() if gain in ALWAYS or moved.get(gain, 0.0) != 0.0}
        stay = [name for name in names if name not in gains]
        if law.kind != "linear" or not stay or len(stay) == len(names):
            return replace(found, what="nothing for the law to take over", done=done)
        weight, _ = closed_form.matrix(found.controller)
        order, scale = moved["order"] or self.order, found.controller.decision.residual_scale
        changes = {gain: float(moved[gain]) for gain in ALWAYS}
        for name in set(names) & set(gains):
            at, gain = names.index(name), gains[name]
            per = order if gain.startswith("b") else 1.0  # what is in errors is divided by the order
            own = scale * found.controller.decision.observation.table[at].scale * weight[0, at]
            changes[gain] = float(moved[gain] - per * own)
        if moved["reject_own"] == 0.0 and changes["b1"] > 0.0:
            changes["reject_b1"] = changes["b1"]  # a rejected attempt is repeated by the error's own term
        try:
            less = closed_form.selected(on_law(found.controller, changes), stay)
        except ValueError:  # out of the range of a gain
            return replace(found, what="the law cannot take over the terms", done=done)
        learned = self._learn(less, s.refine, s.sigma / 2)
        value = min((self.objective(learned), 0, learned), (self.objective(less), 1, less), key=lambda t: t[:2])
        if value[0] <= found.objective + s.worse:
            told = ", ".join(f"{gain} = {changes[gain]:.4g}" for gain in GAINS.values() if gain in changes)
            what = f"gains of the law {told}"
            return replace(found, what=what, controller=value[2], objective=value[0], done=done)
        return replace(found, what="the errors' and ratios' terms stay outside the law", done=done)

    def _leave_out(self, found: Found) -> Found:
        """Without the feature that is missed least, where that pays; else this part is over."""
        s, names = self.settings, list(found.controller.decision.observation.features)
        crowded = closed_form.numbers(found.controller) > s.most_numbers
        open_to = [n for n in names if len(names) > 1 and (crowded or n not in found.refused)]
        if not open_to:
            return replace(found, what="nothing to leave out", done=_over(found, 2))
        # one kernel for all of them: a feature is left out by its weight
        tries = {name: min(self._without(found.controller, name)) for name in open_to}
        name = min(tries, key=lambda k: tries[k][0])
        shift = tries[name][1]
        weight, bias = closed_form.matrix(found.controller)
        kept = [n for n in names if n != name]
        less = closed_form.selected(found.controller, kept)
        less = less.replace(
            layers=[(closed_form.matrix(less)[0], bias + shift * weight[:, names.index(name)], "linear")]
        )
        learned = self._learn(less, s.refine, s.sigma / 2)
        value = min((self.objective(learned), 0, learned), (self.objective(less), 1, less), key=lambda t: t[:2])
        if crowded or value[0] <= found.objective + s.worse:
            return replace(found, what=f"without {name}", controller=value[2], objective=value[0])
        return replace(found, what=f"{name} is needed", refused=(*found.refused, name))

    def _without(self, controller: Learned, name: str) -> Iterator[tuple[float, float]]:
        """(objective, shift of the bias) with a feature's weight taken away, with several biases in its place."""
        weight, bias = closed_form.matrix(controller)
        names = list(controller.decision.observation.features)
        at = names.index(name)
        cost = self.log_cost(controller, name)
        for shift in SHIFTS:
            w = weight.copy()
            w[:, at] = 0.0
            less = controller.replace(layers=[(w, bias + shift * weight[:, at], "linear")])
            yield self.fitness(less) + cost, shift

    def _add(self, found: Found) -> Found:
        """With the product that helps most, where that pays; else this part is over."""
        s, over = self.settings, _over(found, 3)
        names = list(found.controller.decision.observation.features)
        room = closed_form.numbers(found.controller) + found.controller.decision.n_act <= s.most_numbers
        # of all that there was to begin with: what is worth nothing by itself may be in a product
        single = [name for name in self.first.decision.observation.features if len(parts(name)) == 1]
        pairs = [f"{a}*{b}" for a, b in itertools.combinations_with_replacement(single, 2)]
        pairs = [pair for pair in pairs if same(pair) not in {same(name) for name in names}]
        if found.products >= s.products or not room or not pairs:
            return replace(found, what="no more products", done=over)
        # one kernel for all of them: a product is tried by its weight
        wide = closed_form.selected(found.controller, [*names, *pairs])
        costs = [self.log_cost(closed_form.selected(found.controller, [*names, pair])) for pair in pairs]
        asked = [(i, pair, weight) for i, pair in enumerate(pairs) for weight in TRIED]
        scores = evolution.scores_of(self.fitness, [_weighted(wide, len(names) + i, weight) for i, _, weight in asked])
        tries = sorted(
            (score + costs[i], pair, weight) for score, (i, pair, weight) in zip(scores, asked, strict=True)
        )
        taken: dict[str, float] = {}
        for _, pair, weight in tries:
            if len(taken) < TAKEN:
                taken.setdefault(pair, weight)
        values = []
        for i, (pair, weight) in enumerate(taken.items()):
            more = closed_form.selected(found.controller, [*names, pair])
            more = self._learn(_weighted(more, len(names), weight), s.refine, s.sigma / 2)
            values.append((self.objective(more), i, more))
        value, _, more = min(values, key=lambda t: t[:2])
        if value < found.objective - s.worse:
            new = more.decision.observation.features[-1]
            return replace(found, what=f"with {new}", controller=more, objective=value, products=found.products + 1)
        return replace(found, what="no product pays", done=over)


def on_law(controller: Learned, changes: Mapping[str, float], size_alone: bool = False) -> Learned:
    """The closed form on its law with other coefficients.

    size_alone: with its action on the step size only.
    """
    d = controller.decision
    told = ", ".join(f"{name} {value:.4g}" for name, value in sorted(changes.items()))
    base = d.law.name.split(" with ")[0]
    law = Law(
        f"{base} with {told}" if told else d.law.name, d.law.kind, {**d.law.as_dict(), **changes}, d.law.rules,
        d.law.doc, d.law.source,
    )  # fmt: skip
    weight, bias = closed_form.matrix(controller)
    if not size_alone:
        return controller.replace(decision=d.replace(law=law))
    decision = Decision(d.observation, law, d.residual_scale, actions=d.actions[:1])
    return controller.replace(decision=decision, layers=[(weight[:1], bias[:1], "linear")])


def _over(found: Found, part: int) -> tuple[bool, ...]:
    """What is over once the part is."""
    return tuple(done or i == part for i, done in enumerate(found.done))


def _weighted(controller: Learned, column: int, weight: float) -> Learned:
    """The closed form with one weight of the first action, which is the step size's."""
    w, b = closed_form.matrix(controller)
    w[0, column] = weight
    return controller.replace(layers=[(w, b, "linear")])


class _Stretch:
    """A fitness under other settings: that of one stage."""

    def __init__(self, fitness: evolution.Scores, settings: evolution.Settings) -> None:
        self.fitness, self.settings = fitness, settings

    @property
    def attempts(self) -> int:
        return self.fitness.attempts

    @attempts.setter
    def attempts(self, value: int) -> None:
        self.fitness.attempts = value

    def draw(self, rng: np.random.Generator) -> None:
        self.fitness.draw(rng)

    def __call__(self, controller: Any) -> float:
        return self.fitness(controller)

    def scores(self, controllers: Sequence[Any]) -> list[float]:
        """The scores of several controllers."""
        return evolution.scores_of(self.fitness, list(controllers))
