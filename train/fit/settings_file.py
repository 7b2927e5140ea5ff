"""`recommended.toml`: arguments of `ss.solve` and `ss.solve_ensemble` in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ...integrators.core.errors import OptionError
from ...integrators.methods import portfolio
from ..config import reading

KEYS = ("method", "controller", "rtol", "atol")


def settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """method, controller, rtol and atol of a file that `fit` has written: `ss.solve(problem, **ss.settings(path))`.

    A controller that is a file is looked for beside this one.  ValueError where the file is not TOML or holds other
    keys.
    """
    found = reading.toml(path)
    options.check_names(f"{path}", found, KEYS)
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise OptionError(f"{path}: {', '.join(missing)} missing")
    portfolio.asked(found["method"])
    beside = Path(path).parent / options.text("controller", found["controller"])
    if beside.is_file():
        found["controller"] = str(beside)
    for key in ("rtol", "atol"):
        options.number(key, found[key], low=0.0)
    return found
