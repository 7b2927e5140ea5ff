"""What stands at the head of an exported file: names, what the controller is, where it comes from, what it reads."""

from __future__ import annotations

import json
import keyword
import re
from typing import Any

from ...integrators.core import record as rec
from ...integrators.core import tolerance_scale
from ...integrators.core.contract import N_HEAD, S_LE1, S_LE2, S_LH1, S_LH2, S_NACC, S_STREAK
from ...integrators.core.errors import refuse
from ...integrators.core.reading import line

#: what a slot of the record holds, in the words of a host
SLOTS = {
    rec.ERR: "scaled error norm of the attempt, 1 at the tolerance",
    rec.H: "size attempted, positive",
    rec.H_FREE: "size that was asked for, before the step was shortened to land",
    rec.ORDER: "order of the error estimate + 1 (5 for Dormand-Prince 5(4))",
    rec.HS: "h times the stiffness estimate of the stages, ||k_j - k_i||/||g_j - g_i|| at c = 1",
    rec.CURV: "relative change of slope over the step, ||f1 - f0||/(||f1|| + ||f0||)",
    rec.YNORM: "rms(y/scale), scale = atol + rtol max(|y0|, |y1|)",
    rec.ENORM: "max norm of the scaled error over its rms norm",
    rec.NEWTON_ITERS: "Newton iterations of the stage that iterated most",
    rec.NEWTON_RATE: "worst rate of Newton's convergence",
    rec.JAC_AGE: "attempts that the Jacobian had served before",
    rec.LU_AGE: "attempts that the LU factors had served before",
    rec.NF: "right-hand sides of this attempt",
    rec.NJAC: "Jacobians of this attempt",
    rec.NLU: "factorisations of this attempt",
    rec.NSOLVE: "back-substitutions of this attempt",
    rec.T_LEFT: "distance to the end before the attempt, positive",
    rec.TRUNCATED: "1 where the step was shortened to land, else 0",
    rec.FINITE: "1 where error and state are finite, else 0",
    rec.RTOL: "relative tolerance at which the controller works: its tolerance scale times the one asked for",
    rec.TAU_AMUSE: "AMUSE's Hermite time scale at the end of the step",
    rec.TAU_AARSETH: "Aarseth's time scale at the end of the step",
    rec.TAU_PRS: "time scale of Pham, Rein and Spiegel at the end of the step",
    rec.LU_SHIFT: "log of the size over that of the LU factors",
    rec.SPAN: "distance from the start to the end time, positive",
}

#: slots that hosts without Newton's iteration leave out
NEWTONS = frozenset({rec.NEWTON_ITERS, rec.NEWTON_RATE, rec.LU_SHIFT, rec.JAC_AGE, rec.LU_AGE})

_ROWS = {
    S_LE1: "log of the scaled error of the last accepted step",
    S_LE2: "the same of the one before",
    S_LH1: "log of the size of the last accepted step",
    S_LH2: "the same of the one before",
    S_STREAK: "rejections in a row",
    S_NACC: "accepted steps",
}


def identifier(controller: Any, name: str | None) -> str:
    """What everything in the file is called after: `name`, or the controller's name as an identifier of C and Python.

    OptionError for a `name` that is no identifier.
    """
    if name is not None:
        fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,60}", name)
        if not fits or keyword.iskeyword(name):
            raise refuse("name", "an identifier of C and Python (letters, digits, _; a letter first)", name)
        return name
    found = re.sub(r"[^A-Za-z0-9]+", "_", str(getattr(controller, "name", "controller"))).strip("_").lower()
    return found[:60] if found[:1].isalpha() else f"controller_{found}".rstrip("_")[:60]


def row_doc(row: int) -> str:
    """What a row of the state holds."""
    return _ROWS[row] if row < N_HEAD else f"row {row} of the controller's own state (earlier observations)"


def about(controller: Any) -> list[str]:
    """What the controller is and where it comes from, a fact a line, printable ASCII."""
    learned = getattr(controller, "decision", None)
    law = controller if learned is None else learned.law
    lines = [f"Step-size controller {getattr(controller, 'name', 'without a name')}, written by Stepsmith"]
    family = getattr(controller, "family", "")
    if learned is not None:
        shapes = controller.shapes
        net = "-".join(str(n) for n in (shapes[0][0], *(b for _, b, _ in shapes)))
        lines.append(f"learned{f', trained on {family}' if family else ''}; network {net}, base law {law.name}")
        lines.append(f"features: {', '.join(learned.observation.features)}")
        lines.append(f"actions: {', '.join(action.name for action in learned.actions)}")
    method = getattr(controller, "trained_method", None)
    if method:
        lines.append(f"method: {method}; with another one its steps mean something else")
    if getattr(law, "doc", ""):
        lines.append(f"law {law.name}: {law.doc}")
    if getattr(law, "source", ""):
        lines.append(f"law's source: {law.source}")
    if hasattr(law, "as_dict"):
        changed = {k: v for k, v in law.as_dict().items() if k in law.values}
        lines.append(f"law's coefficients: {', '.join(f'{k} {v:.6g}' for k, v in changed.items()) or 'the defaults'}")
    for key, value in getattr(controller, "provenance", {}).items():
        lines.append(f"provenance, {key}: {value if isinstance(value, str) else json.dumps(value, default=str)}")
    scale = tolerance_scale.of(controller)
    if scale != 1.0:
        lines.append(f"tolerance scale {scale!r}: the solver works at that times the rtol and atol asked for")
    return [_ascii(line(text, 1000)) for text in lines]


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
