"""What XLA compiles of a controller: its decision, shared by controllers of one structure.

A step of diffrax on a small problem takes half a microsecond, most of it spent between the compiled pieces rather than
in them, so that a decision is cheap where it is few pieces.  Numbers that the controller's structure fixes (`known`, of
its parameters and of its state) are constants here and no part of the array of parameters, which saves a law without a
filter on step sizes a logarithm and two thirds of its selects; and parameters are handed in in short arrays, because
XLA's CPU client runs a program without its pool of threads where all of its arrays are short (512 bytes).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...integrators.core import record as rec
from ...integrators.core.binding import bind
from ...integrators.core.contract import ACCEPT, LOG_FACTOR
from ...integrators.core.namespaces import jax_arrays
from ...integrators.core.pure import Decision, Parameters
from ...integrators.core.runner import slots_read

#: parameters in one array
SHORT = 48
#: what is known of a controller that says nothing
NOTHING: tuple[tuple, tuple] = ((), ())


@dataclass(frozen=True)
class Structure:
    """What is compiled of a controller, without its parameters; equal where a compiled program can be shared.

    key: the controller's, and its numbers that are constants.  reads: slots of the record that it looks at.  rows: the
    rows of its state that a solve carries on.  first: its first size, or None.
    """

    key: Hashable
    reads: frozenset[int]
    rows: tuple[int, ...]
    decision: Decision = field(compare=False, repr=False)
    first: Callable[..., Any] | None = field(compare=False, repr=False)
    controller: Any = field(compare=False, repr=False)

    @classmethod
    def of(cls, controller: Any) -> Structure:
        """The structure of `controller`, which it keeps to be pickled and copied by."""
        arrays = jax_arrays()
        first = getattr(controller, "first", None)
        known = getattr(controller, "known", NOTHING)
        kept = range(getattr(controller, "n_kept", controller.n_state))
        return cls(
            (controller.key, known),
            slots_read(controller),
            tuple(i for i in kept if i not in dict(known[1])),
            Decision(controller, arrays, single=True),
            None if first is None else bind(first, arrays.namespace),
            controller,
        )

    def __reduce__(self) -> Any:
        return Structure.of, (self.controller,)

    @property
    def _known(self) -> tuple[tuple, tuple]:
        return getattr(self.controller, "known", NOTHING)

    def free(self, params: Any) -> Any:
        """Those of all parameters (k,) that are no constants."""
        known = dict(self._known[0])
        return params[[i for i in range(len(params)) if i not in known]]

    def pieces(self, params: Any) -> tuple[Any, ...]:
        """The free parameters (k,) in short arrays, without gradient; ValueError for those of another structure."""
        count = len(self.controller.params) - len(self._known[0])
        if len(params) != count:
            raise ValueError(f"this controller has {count} parameters, got {len(params)}: those of another structure")
        params = jax.lax.stop_gradient(params)
        return tuple(params[i : i + SHORT] for i in range(0, len(params), SHORT))

    def start(self, pieces: Sequence[Any], zero: Any) -> tuple[Any, Any]:
        """The state's rows (rows, ...) before the first attempt, and the controller's own first size, NaN where it has
        none.

        zero: an array (...) of zeros.
        """
        params = Parameters(pieces, self._known[0])
        with np.errstate(over="ignore", under="ignore"):
            state = self.decision.start(params, zero)
        first = jnp.full_like(zero, jnp.nan)
        if self.first is not None:
            first = jnp.asarray(self.first(params, list(state), [first] * rec.N_RECORD))
        return jnp.stack([state[i] for i in self.rows]), first

    def decide(self, pieces: Sequence[Any], kept: Any, record: Sequence[Any]) -> tuple[Any, Any, Any]:
        """The answer to one attempt.

        pieces: of the parameters.  kept: (rows, ...).  record: `N_RECORD` arrays (...).  Returns accept, bool (...),
        the natural logarithm of the next size over the size attempted (...), and the rows after it.
        """
        params, rows = self._known
        state = [jnp.zeros_like(kept[0])] * self.decision.n_state
        for i, value in rows:
            state[i] = jnp.full_like(kept[0], value)
        for i, row in zip(self.rows, kept, strict=True):
            state[i] = row
        with np.errstate(over="ignore", under="ignore"):
            out, after = self.decision(Parameters(pieces, params), state, record)
        return out[ACCEPT] > 0.5, out[LOG_FACTOR], jnp.stack([after[i] for i in self.rows])
