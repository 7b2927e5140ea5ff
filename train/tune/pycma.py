"""pycma, which brings CMA-ES: whether it is there, and what is said where it is not."""

from __future__ import annotations

import importlib.util

NEEDED = "the search of a tuned law needs pycma: pip install 'stepsmith[train]'"


def there() -> bool:
    """Whether it can be imported."""
    try:
        return importlib.util.find_spec("cma") is not None
    except ModuleNotFoundError:
        return False


def require() -> None:
    """ModuleNotFoundError, with the command that installs it, where it is not: before a search solves anything."""
    if not there():
        raise ModuleNotFoundError(NEEDED, name="cma")
