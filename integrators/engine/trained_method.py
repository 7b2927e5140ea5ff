"""A controller is used with another method than it was trained on: one warning a controller and method."""

from __future__ import annotations

import warnings
from typing import Any

from ..core.errors import outside, shown

_TOLD: set[tuple[str, str, str]] = set()


def warn_once(controller: Any, method: str, host: str | None = None) -> None:
    """UserWarning, at the caller of the package, where `controller.trained_method` names another method than `method`.

    host: how another solver, in which the controller works, calls its method ("SciPy's RK23").

    A controller without that attribute, or with None or "", knows none: laws serve every method.
    """
    trained = getattr(controller, "trained_method", None)
    if not trained or trained == method:
        return
    key = (str(controller.name), trained, method)
    if key in _TOLD:
        return
    _TOLD.add(key)
    if host is not None:
        warnings.warn(
            f"controller {shown(controller.name)} was trained with method {shown(trained)} and is used with {host}: "
            f"what it learned of errors and steps need not hold here. Use the method whose pair is that of {trained}, "
            "or a law (stepsmith.controller('pi34'))",
            stacklevel=outside(),
        )
        return
    warnings.warn(
        f"controller {shown(controller.name)} was trained with method {shown(trained)} and is used with "
        f"{shown(method)}: what it learned "
        f"of errors and steps need not hold here. Use method={shown(trained)}, or a law (controller='pi34', or one "
        "from `stepsmith tune`)",
        stacklevel=outside(),
    )

