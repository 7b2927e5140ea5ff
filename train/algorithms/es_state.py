"""State of pycma's strategy as plain data: numbers and arrays of its parts, and of the random generator that it draws
from.

A strategy is built anew from the same arguments, taken through one generation so that its attributes are there, and
then given the saved values.  Functions, options and loggers stay as they are built.  The generator is NumPy's global
one, as pycma has it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

#: parts of a strategy that one generation hands to the next; a name with a dot is a part of a part
PARTS = ("", "sm", "adapt_sigma", "sigma_vec", "fit", "best", "best.last", "_stoptolxstagnation", "sent_solutions")
_NUMBERS = (bool, int, float, np.number, np.bool_)


def state_of(es: Any) -> dict[str, Any]:
    """Plain data for `build`, between two generations."""
    parts = {name: {k: v for k, v in vars(_part(es, name)).items() if _plain(v)} for name in PARTS}
    random = np.random.get_state(legacy=False)  # noqa: NPY002 (pycma draws from it)
    return {"cma": version("cma"), "parts": parts, "random": random}


def build(make: Callable[[], Any], state: dict[str, Any]) -> Any:
    """The strategy of `make()` at a saved state.

    ValueError where another version of pycma saved it, which keeps other things.
    """
    if state["cma"] != version("cma"):
        raise ValueError(
            f"it was saved with cma {state['cma']}, and {version('cma')} is installed: install that version to go on"
        )
    es = make()
    if es.countiter != state["parts"][""]["countiter"]:
        xs = es.ask()
        es.tell(xs, [float(i) for i in range(len(xs))])
    for name in PARTS:
        part, saved = vars(_part(es, name)), state["parts"][name]
        for key in [k for k, v in part.items() if _plain(v) and k not in saved]:
            del part[key]
        for key, value in saved.items():
            if (
                isinstance(value, np.ndarray)
                and isinstance(part.get(key), np.ndarray)
                and value.shape != part[key].shape
            ):
                raise ValueError(f"its {key} has shape {value.shape} where the run has {part[key].shape}")
            part[key] = value
    np.random.set_state(state["random"])  # noqa: NPY002
    return es


def _part(es: Any, name: str) -> Any:
    for step in filter(None, name.split(".")):
        es = getattr(es, step)
    return es


def _plain(v: Any) -> bool:
    """A number, an array, nothing, or a list of such."""
    if isinstance(v, np.ndarray):
        return not v.dtype.hasobject
    return (
        v is None
        or isinstance(v, _NUMBERS)
        or (type(v) is list and all(isinstance(x, (*_NUMBERS, np.ndarray)) for x in v))
    )
