"""What a controller is, in plain text."""

from __future__ import annotations

import json
import math

from ...integrators.core.contract import ACCEPT_MAX
from ...integrators.core.reading import line
from ..laws.coefficients import SPECS
from ..learned.actions import Action
from ..learned.as_formula import formula, is_linear, numbers, scaling
from ..learned.network import Learned
from .layout import document


def describe(controller: Learned) -> str:
    """What a controller is, in plain text: what `stepsmith inspect` prints."""
    doc, d = document(controller), controller.decision
    net = "-".join(str(n) for n in (controller.shapes[0][0], *(b for _, b, _ in controller.shapes)))
    acts = ", ".join(act for _, _, act in controller.shapes)
    turned = {action.knob: action for action in d.actions}
    least, most = _ends(turned["size"], d.residual_scale)
    lines = [
        f"{line(controller.name)}: learned controller"
        + (f", trained on {line(controller.family)}" if controller.family else ""),
        f"network      {net} ({acts}; {controller.squash}), {controller.n_weights} weights",
        f"base law     {line(d.law.name)} ({d.law.kind}), a residual factor of {least:.3g} to {most:.3g}",
    ]
    if "threshold" in turned:
        low, high = _ends(turned["threshold"], d.threshold_scale)
        lines.append(
            f"acceptance   learned: {low:.3g} to {high:.3g} times the law's "
            f"threshold, at most {ACCEPT_MAX:g} tolerances"
        )
    elif d.law.kind == "linear":
        lines.append(f"acceptance   the law's, at most {ACCEPT_MAX:g} tolerances")
    else:
        lines.append("acceptance   the law's, which looks at no error")
    if "hold" in turned:
        lines.append(
            f"hold         learned: dead band up to {_ends(turned['hold'], turned['hold'].scale)[1]:.3g} wider"
        )
    if "renewal" in turned:
        lines.append("Jacobian     learned: renewed at a Newton rate of its own")
    lines += [f"action       {line(action.name)}: {line(action.doc)}" for action in d.actions if action.own]
    if controller.tolerance_scale != 1.0:
        lines.append(f"tolerance    works at {controller.tolerance_scale:.4g} times the rtol and atol asked for")
    if is_linear(controller):
        lines.append(f"formula      {numbers(controller)} numbers; the outer clip is to [-1, 1], features are scaled:")
        lines += [f"             {text}" for text in formula(controller)]
        lines += [f"             {f.name} stands for {scaling(f)}" for f in d.observation.table if not f.factors]
        if not d.plain:
            lines.append("             z(x) is x by the normaliser in the file, (x - shift) scale")
    several = f", of the last {controller.frames} attempts" if controller.frames > 1 else ""
    lines.append(f"observation  {d.n_obs} features{several}, tier {d.observation.tier}")
    lines += [f"             {f.name}: {' '.join(f.doc.split())}" for f in d.observation.table]
    changed = [f"{k}={v:.6g}" for k, v in d.law.as_dict().items() if v != SPECS[d.law.kind][k].default]
    lines.append(f"law differs  {', '.join(changed) or 'in nothing'} (from the defaults of its kind)")
    for title, part in (("provenance", doc["provenance"]), ("measured", doc["measured"])):
        lines += [f"{title:<12} {line(k)}: {line(v if isinstance(v, str) else json.dumps(v))}" for k, v in part.items()]
    return "\n".join(lines)


def _ends(action: Action, scale: float) -> tuple[float, float]:
    """Least and greatest factor that an action gives at its ends and at 0."""
    moves = [float(action.move(a, scale)) for a in (-1.0, 0.0, 1.0)]
    return math.exp(min(moves)), math.exp(max(moves))
