"""A controller is used with another method than it was trained on: one warning a controller and method."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from .options import shown

_PACKAGE = __name__.split(".")[0]
_TOLD: set[tuple[str, str, str]] = set()


def warn_once(controller: Any, method: str) -> None:
    """UserWarning, at the caller of the package, where `controller.trained_method` names another method than `method`.

    A controller without that attribute, or with None or "", knows none: laws serve every method.
    """
    trained = getattr(controller, "trained_method", None)
    if not trained or trained == method:
        return
    key = (str(controller.name), trained, method)
    if key in _TOLD:
        return
    _TOLD.add(key)
    warnings.warn(
        f"controller {shown(controller.name)} was trained with method {shown(trained)} and is used with {shown(method)}: what it learned "
        f"of errors and steps need not hold here. Use method={shown(trained)}, or a law (controller='pi34', or one from `stepsmith tune`)",
        stacklevel=_outside(),
    )


def _outside() -> int:
    """`stacklevel` of the first frame outside the package, as seen from the caller."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level
