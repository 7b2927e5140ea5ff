"""A controller is used with another method than it was trained on: one warning a controller and method."""

from __future__ import annotations

import warnings
from typing import Any

from ..core.errors import outside, shown

_TOLD: set[tuple[str, str, str]] = set()


def warn_once(controller: Any, method: str, host: str | None = None, implicit: bool = False) -> None:
    """UserWarning, at the caller of the package, where `controller.trained_method` names another method than `method`,
    or where it was trained with several explicit methods (`trained_methods`) and this one is implicit.

    host: how another solver, in which the controller works, calls its method ("SciPy's RK23").

    A controller without these attributes, or with None, "" or (), knows none: laws serve every method.
    """
    trained, several = getattr(controller, "trained_method", None), getattr(controller, "trained_methods", ())
    if trained and trained != method:
        there, remedy = f"method {shown(trained)}", f"method={shown(trained)}"
    elif implicit and not trained and several:
        there, remedy = f"explicit methods ({', '.join(several)})", "one of them"
        trained = " ".join(several)
    else:
        return
    key = (str(controller.name), trained, method)
    if key in _TOLD:
        return
    _TOLD.add(key)
    said = f"controller {shown(controller.name)} was trained with {there} and is used with "
    doubt = "what it learned of errors and steps need not hold here. Use"
    if host is not None:
        pair = f"the method whose pair is that of {trained}" if remedy != "one of them" else "an explicit method"
        warnings.warn(f"{said}{host}: {doubt} {pair}, or a law (stepsmith.controller('pi34'))", stacklevel=outside())
        return
    warnings.warn(
        f"{said}{shown(method)}: {doubt} {remedy}, or a law (controller='auto', or one from `stepsmith tune`)",
        stacklevel=outside(),
    )
