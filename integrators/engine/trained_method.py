"""A controller is used with another method than it was trained on: one warning a controller and method."""

from __future__ import annotations

import warnings
from typing import Any

from .. import methods
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


def warn_once_in(host: str, controller: Any, method: str | None, order: Any, pairs: dict[str, str]) -> None:
    """`warn_once` in a host that learns of its method when it solves, and maybe not its name.

    host    the host's name.  method: its name for the method, or None.  pairs: names of the same pairs here.
    order   of the method's error estimate, one more than that of its lower method (5 for Dormand-Prince).  Where the
            pair is not known the orders are compared, and equal ones pass.
    """
    trained = getattr(controller, "trained_method", None)
    if not trained:
        return
    if method in pairs:
        warn_once(controller, pairs[method], f"{host}'s {method}")
        return
    try:
        differ = float(order) != methods.get(trained).embedded_order + 1
    except (TypeError, ValueError):  # a traced order, or a method that is known by name alone
        return
    if differ:
        what = f"a method of order {float(order):g}" if method is None else f"{method} (order {float(order):g})"
        warn_once(controller, f"{host} {what}", f"{host}'s {what}" if method else f"{what} in {host}")
