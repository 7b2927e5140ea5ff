"""The strength by a layer's best response: Self-Tuning Networks with one layer that responds, and one hyperparameter.

The best response w*(l) is the weights that training with strength exp(l) ends in.  A `Responsive` layer models it near
the present l, to first order in l.  Iterations of training run with a perturbed strength, the layer at the same place:

    minimise over the weights    E [ loss(w(l + e)) + exp(l + e) penalty ],       e ~ N(0, s^2)

with e drawn once an iteration, so that the layer learns what another strength would make of it.  `respond` then takes a
step of Adam in l and in s on

    validation loss(w(l + e)) - tau log(s sqrt(2 pi e)),

the last term being the entropy of the perturbation, which keeps s from shrinking to zero.  s is the softplus of a
number without bounds.  With the layer in eval mode there is no perturbation, and the validation loss says nothing about
s, which stays.

Source: M. MacKay, P. Vicol, J. Lorraine, D. Duvenaud, R. Grosse, "Self-Tuning Networks: bilevel optimization of
hyperparameters using structured best-response functions", ICLR 2019, arXiv:1903.03088, section 3.2 and algorithm 1: two
iterations of training for one of validation, s = 0.5 at first, rates 0.003.  There all layers respond.  Here weights
before the layer, those of the field, do not: the strength is judged by what the layer makes of its input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...integrators.core import options
from ...integrators.neural.strength.base import Seen
from ...integrators.neural.strength.groups import Parameters
from . import adam
from .responding import Responding, common
from .responsive import Responsive

Tensor = torch.Tensor
#: beside the seed: the generator's numbers are not those of `np.random.default_rng(seed)`, which a user may draw from
STREAM = 0x42455354


class BestResponse(Responding):
    """See the module's text.  spread: s.

    Copies and pickles hold a layer of their own: copy model and strength together, as one tuple, where they are to stay
    connected.  `describe` leaves the layer out: `make(**description, layer=layer)` builds the strength anew.
    """

    kind = "best_response"
    remembered = ("generator_state", *Responding.remembered, "_raw", "_raw_moments", "draw")

    def __init__(self, layer: Responsive, numbers: dict[str, Any]) -> None:
        super().__init__(numbers)
        self.layer = layer
        self.rng = np.random.default_rng([numbers["seed"], STREAM])
        self._raw = numbers["spread"] + math.log(-math.expm1(-numbers["spread"]))  # softplus(raw) = spread
        self._raw_moments = [0.0, 0.0, 0.0]
        #: e in units of s
        self.draw = 0.0
        self._perturb()

    @property
    def spread(self) -> float:
        """s, the standard deviation of the perturbation of l."""
        return max(self._raw, 0.0) + math.log1p(math.exp(-abs(self._raw)))

    @property
    def level(self) -> float:
        return math.exp(self.log_level + self.spread * self.draw)

    @property
    def generator_state(self) -> dict[str, Any]:
        """The state of the generator of perturbations."""
        return dict(self.rng.bit_generator.state)

    @generator_state.setter
    def generator_state(self, state: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = state

    def check_value(self, name: str, value: Any) -> None:
        super().check_value(name, value)
        if name == "generator_state":
            try:
                np.random.default_rng().bit_generator.state = value
            except (ValueError, TypeError, KeyError):
                raise ValueError("the state of the generator of a best response is damaged") from None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, and set the layer to it."""
        super().load_state_dict(state)
        self.layer.set(self.log_level, self.spread, self.draw)

    def _perturb(self) -> None:
        """Draw e, with l + e between log low and log high, and set the layer to it."""
        low, high = (math.log(self.numbers[name]) - self.log_level for name in ("low", "high"))
        e = min(max(self.spread * self.rng.standard_normal(), low), high)
        self.draw = e / self.spread
        self.layer.set(self.log_level, self.spread, self.draw)

    def see(self, seen: Seen) -> float:
        level = self.level
        self._perturb()  # for the next iteration
        return level

    def gradients(
        self,
        validation_loss: Tensor,
        training_loss: Tensor | None,
        penalty: Tensor | None,
        parameters: Parameters | None,
    ) -> tuple[float, ...]:
        """In l, and in s where the validation loss is one of a perturbed layer.

        Of the arguments of `respond` the validation loss alone is read.  ValueError where the layer is not in it.
        """
        found = torch.autograd.grad(validation_loss, self.layer.probes, retain_graph=True, allow_unused=True)
        if found[0] is None:
            raise ValueError(
                "the validation loss does not come from the responsive layer of this strength: compute it with the "
                "model that holds the layer"
            )
        return tuple(float(g) for g in found if g is not None)

    def step(self, gradients: tuple[float, ...]) -> None:
        super().step(gradients)
        if len(gradients) == 2:
            slope = 1.0 / (1.0 + math.exp(-self._raw)) if self._raw > -700.0 else 0.0
            of_s = gradients[1] - self.numbers["entropy"] / self.spread
            self._raw_moments, change = adam.step(self._raw_moments, of_s * slope, self.numbers["rate"])
            self._raw += change
        self._perturb()


def best_response(
    layer: Responsive,
    start: float = 0.1,
    *,
    spread: float = 0.5,
    entropy: float = 1e-5,
    rate: float = 3e-3,
    every: int = 2,
    warm_up: int = 100,
    low: float = 1e-3,
    high: float = 10.0,
    seed: int = 0,
) -> BestResponse:
    """The strength that is best for a validation loss, as far as a layer's response tells; see the module's text.

    layer             a `Responsive`, the last layer of the model, which this strength sets from now on.
    start, low, high  the first strength, the least, the largest: positive.
    spread            the first s, the standard deviation of the perturbation of the logarithm; positive.
    entropy           tau, not negative.
    rate              of Adam's steps, for the logarithm of the strength and for s.
    every             iterations from one response to the next; `due` says when.
    warm_up           iterations before the first.
    seed              of the perturbations, a whole number.

    `respond(validation_loss)` needs nothing else.  The strength is in ratio units inside `ratio(best_response(layer))`,
    and raw by itself.  ValueError for what is out of range.
    """
    if not isinstance(layer, Responsive):
        raise options.refuse("layer", "a Responsive layer, strength.Responsive(linear)", layer)
    return BestResponse(
        layer,
        {
            **common(start, rate, every, warm_up, low, high),
            "spread": options.positive("spread", spread),
            "entropy": options.number("entropy", entropy, 0.0),
            "seed": options.count("seed", seed, low=0),
        },
    )
