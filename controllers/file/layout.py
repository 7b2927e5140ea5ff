"""What a controller file holds: its JSON document, its tensors, and the digest of both (`docs/controller_file.md`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...integrators.core import activations
from ...integrators.core.contract import ACCEPT_MAX
from ..laws.coefficients import SPECS
from ..laws.law import Law
from ..laws.values import json_values
from ..learned.actions import ACTIONS, standard
from ..learned.network import Learned
from ..learned.residual import SHRINK, SLACK

FORMAT = "stepsmith-controller"
#: that of a strength of a regulariser (`controllers.strengths.policy_file`)
STRENGTH = "stepsmith-strength"
#: that of a learned sampler of a few steps (`stepsmith.flows.schedule_file`)
SAMPLER = "stepsmith-sampler"
SCHEMA = 1
SUFFIX = ".safetensors"

# limits on what is read
MAX_FILE = 64 * 2**20
MAX_DOCUMENT = 2**18
MAX_LAYERS = 16
MAX_WIDTH = 1024
MAX_ACTIONS = 1024
MAX_TEXT = 2000

# coefficients younger than the schema: written only where they differ from their default, which leaves every file
# readable
LATER = frozenset({"own_ratios", "jac_rate", "lu_keep"})

# a key of the document that is younger than the schema: written only where the scale is not 1, which leaves every file
# readable; a reader that does not know it refuses the file instead of solving at other tolerances than were meant
TOLERANCE = "tolerance_scale"

# keys of the scales that the actions on hold and Jacobian have, in files that have those
ALGEBRA = {"hold": "hold_scale", "refresh": "refresh_scale"}


def document(controller: Learned) -> dict[str, Any]:
    """The file's JSON document: what the controller is, without its weights.

    ValueError where provenance or figures are not JSON.
    """
    d = controller.decision
    law, names = d.law, tuple(action.name for action in d.actions)
    # a decision keeps the actions that it was made with, whatever is registered now
    scales = {action.name: action.scale for action in d.actions if action.own}
    own = {"own_scales": scales} if scales else {}
    doc: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": controller.name,
        "family": controller.family,
        "observation": {
            "features": [
                {"name": f.name, "clip": [f.low, f.high], "shift": f.shift, "scale": f.scale}
                for f in d.observation.table
            ],
            "bound": d.obs_clip,
            **({"frames": controller.frames} if controller.frames > 1 else {}),
        },
        "action": {
            "n": d.n_act, "residual_scale": d.residual_scale, "threshold_scale": d.threshold_scale,
            "squash": controller.squash,
            "shrink": SHRINK, "slack": SLACK, "accept_max": ACCEPT_MAX, **algebra(names),
            **({} if standard(d.actions) else {"names": list(names)}), **own,
        },
        "law": {
            "name": law.name, "kind": law.kind, "rules": law.rules, "doc": law.doc, "source": law.source,
            "coefficients": coefficients(law),
        },
        "layers": [layer_of(*shape) for shape in controller.shapes],
        "provenance": dict(controller.provenance),
        "measured": dict(controller.measured),
        **({} if controller.tolerance_scale == 1.0 else {TOLERANCE: controller.tolerance_scale}),
    }  # fmt: skip
    return plain(doc)


def plain(doc: dict[str, Any]) -> dict[str, Any]:
    """A document as JSON has it; ValueError where provenance or figures are not JSON."""
    try:
        return json.loads(json.dumps(doc, allow_nan=False, default=_plain))
    except (TypeError, ValueError, RecursionError) as e:
        raise ValueError(
            f"provenance and measured figures must be JSON (finite numbers, text, lists, mappings): {e}"
        ) from None


def coefficients(law: Law) -> dict[str, float | str]:
    """A law's coefficients as the file holds them."""
    defaults = SPECS[law.kind]
    return json_values({k: v for k, v in law.as_dict().items() if k not in LATER or v != defaults[k].default})


def algebra(names: tuple[str, ...]) -> dict[str, float]:
    """Scales of the actions on hold and Jacobian, of those that are among `names`."""
    return {key: ACTIONS[name].scale for name, key in ALGEBRA.items() if name in names}


def own_scales(names: tuple[str, ...]) -> dict[str, float]:
    """Scales of the actions among `names` that a caller has registered."""
    return {name: ACTIONS[name].scale for name in names if ACTIONS[name].own}


def tensors(controller: Learned) -> dict[str, np.ndarray]:
    """The file's tensors by name, float64."""
    out = {
        "normaliser.shift": np.array(controller.decision.shift),
        "normaliser.scale": np.array(controller.decision.scale),
    }
    for i, (weight, bias, _) in enumerate(controller.layers):
        out[f"layers.{i}.weight"], out[f"layers.{i}.bias"] = weight, bias
    if controller.table is not None:
        out["table"] = np.array(controller.table)
    return out


def digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    h = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name], dtype="<f8")
        h.update(f"\n{name} {list(a.shape)}\n".encode() + a.tobytes())
    return h.hexdigest()


def layer_of(n_in: int, n_out: int, activation: str) -> dict[str, Any]:
    """A layer as the file holds it.  The slope of a leaky relu stands beside its name."""
    layer = {"n_in": n_in, "n_out": n_out, "activation": activations.kind(activation)}
    slope = activations.slope(activation)
    return layer if slope is None else {**layer, "slope": slope}


def _plain(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, np.ndarray):
        return x.tolist()
    if isinstance(x, Mapping):
        return dict(x)
    raise TypeError(f"{type(x).__name__} is not JSON")
