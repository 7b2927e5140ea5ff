"""The controller file: one `.safetensors` with JSON metadata (`docs/controller_file.md` is its specification).

Metadata `stepsmith` is a JSON document (`document`), metadata `sha256` a digest of that text and of every tensor; tensors are
`layers.<i>.weight`, `layers.<i>.bias`, `normaliser.shift`, `normaliser.scale` and, for action values, `table`, all float64.

Reading executes nothing: safetensors holds numbers, the document is JSON, and every name, key, shape, dtype, bound and size is
checked against what this version understands.  Whatever does not fit is a ValueError that says what.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..integrators.core.contract import ACCEPT_MAX
from ..integrators.core.dense import ACTIVATIONS
from ..integrators.core.errors import shown
from ..integrators.core.names import unknown
from ..integrators.core.reading import MAX_DEPTH, line, parse_json, read_bytes
from . import zoo
from .decision import HOLD_SCALE, N_ACTS, REFRESH_SCALE, SHRINK, SLACK, THRESHOLD_MOST, Decision
from .laws import SPECS, Law
from .learned import SQUASHES, Learned
from .observation import FEATURES, HUGE, Observation

FORMAT = "stepsmith-controller"
SCHEMA = 1
SUFFIX = ".safetensors"

# limits on what is read
MAX_FILE = 64 * 2**20
MAX_DOCUMENT = 2**18
MAX_LAYERS = 16
MAX_WIDTH = 1024
MAX_ACTIONS = 1024
MAX_TEXT = 2000

# coefficients younger than the schema: written only where they differ from their default, which leaves every file readable
_LATER = frozenset({"own_ratios", "jac_rate", "lu_keep"})

# constants of actions on hold and Jacobian, in files that have them
_ALGEBRA = {"hold_scale": HOLD_SCALE, "refresh_scale": REFRESH_SCALE}


def document(controller: Learned) -> dict[str, Any]:
    """The file's JSON document: what the controller is, without its weights.  ValueError where provenance or figures are not JSON."""
    d = controller.decision
    law = d.law
    doc: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": controller.name,
        "family": controller.family,
        "observation": {
            "features": [{"name": f.name, "clip": [f.low, f.high], "shift": f.shift, "scale": f.scale} for f in d.observation.table],
            "bound": d.obs_clip,
        },
        "action": {
            "n": d.n_act, "residual_scale": d.residual_scale, "threshold_scale": d.threshold_scale, "squash": controller.squash,
            "shrink": SHRINK, "slack": SLACK, "accept_max": ACCEPT_MAX, **(_ALGEBRA if d.n_act == 4 else {}),
        },
        "law": {
            "name": law.name, "kind": law.kind, "rules": law.rules, "doc": law.doc, "source": law.source,
            "coefficients": {k: _write_number(v) for k, v in law.as_dict().items() if k not in _LATER or v != SPECS[law.kind][k].default},
        },
        "layers": [{"n_in": a, "n_out": b, "activation": act} for a, b, act in controller.shapes],
        "provenance": dict(controller.provenance),
        "measured": dict(controller.measured),
    }  # fmt: skip
    try:
        return json.loads(json.dumps(doc, allow_nan=False, default=_plain))
    except (TypeError, ValueError, RecursionError) as e:
        raise ValueError(f"provenance and measured figures must be JSON (finite numbers, text, lists, mappings): {e}") from None


def tensors(controller: Learned) -> dict[str, np.ndarray]:
    """The file's tensors by name, float64."""
    out = {"normaliser.shift": np.array(controller.decision.shift), "normaliser.scale": np.array(controller.decision.scale)}
    for i, (weight, bias, _) in enumerate(controller.layers):
        out[f"layers.{i}.weight"], out[f"layers.{i}.bias"] = weight, bias
    if controller.table is not None:
        out["table"] = np.array(controller.table)
    return out


def save(controller: Learned, path: str | os.PathLike[str]) -> Path:
    """Write a learned controller; returns the path.

    Raises ValueError for anything else than a `Learned`, a name that does not end in .safetensors, weights that are not finite, and what
    `load` would refuse.  The file is put in place whole or not at all.
    """
    if not isinstance(controller, Learned):
        raise ValueError(f"only learned controllers go into a file, got {type(controller).__name__}")
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"a controller file must end in {SUFFIX}, got {path.name!r}")
    from safetensors.numpy import save as to_bytes

    text = json.dumps(document(controller), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    arrays = tensors(controller)
    data = to_bytes(arrays, {"stepsmith": text, "sha256": _digest(text, arrays)})
    _parse(data)  # what cannot be read back is not written
    fd, tmp = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
        os.chmod(tmp, 0o644)
        os.replace(tmp, path)
    except BaseException:
        os.unlink(tmp)
        raise
    return path


def load(path: str | os.PathLike[str]) -> Learned:
    """Read a controller file: a regular file of at most `MAX_FILE` bytes.

    Raises ValueError naming what is wrong with a file that is truncated, altered, of another schema or not a controller, and
    FileNotFoundError where there is none.
    """
    data = read_bytes(path, "controller file", MAX_FILE)
    try:
        return _parse(data)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def load_controller(name_or_path: str | os.PathLike[str]) -> Learned:
    """A controller of the zoo by name, or from a file: anything that ends in .safetensors or has a folder in it is a path.

    Raises ValueError for an unknown name (naming the nearest) and as `load` does.
    """
    if isinstance(name_or_path, str) and not name_or_path.endswith(SUFFIX) and not os.path.dirname(name_or_path):
        name = name_or_path
        if name not in zoo.names():
            raise unknown("controller", name, zoo.names())
        try:
            return _parse(zoo.read(name))
        except ValueError as e:
            raise ValueError(f"{name} of the zoo: {e}") from None
    return load(name_or_path)


def describe(controller: Learned) -> str:
    """What a controller is, in plain text: what `stepsmith inspect` prints."""
    doc, d = document(controller), controller.decision
    net = "-".join(str(n) for n in (d.n_obs, *(b for _, b, _ in controller.shapes)))
    acts = ", ".join(act for _, _, act in controller.shapes)
    least, most = math.exp(-d.residual_scale), math.exp(d.residual_scale)
    lines = [
        f"{line(controller.name)}: learned controller" + (f", trained on {line(controller.family)}" if controller.family else ""),
        f"network      {net} ({acts}; {controller.squash}), {controller.n_weights} weights",
        f"base law     {line(d.law.name)} ({d.law.kind}), a residual factor of {least:.3g} to {most:.3g}",
    ]
    if d.n_act >= 2:
        low, high = math.exp(-d.threshold_scale), math.exp(d.threshold_scale)
        lines.append(f"acceptance   learned: {low:.3g} to {high:.3g} times the law's threshold, at most {ACCEPT_MAX:g} tolerances")
    elif d.law.kind == "linear":
        lines.append(f"acceptance   the law's, at most {ACCEPT_MAX:g} tolerances")
    else:
        lines.append("acceptance   the law's, which looks at no error")
    if d.n_act == 4:
        lines.append(f"hold         learned: dead band up to {math.exp(HOLD_SCALE):.3g} wider; Jacobian renewed at a learned Newton rate")
    lines.append(f"observation  {d.n_obs} features, tier {d.observation.tier}")
    lines += [f"             {f.name}: {f.doc}" for f in d.observation.table]
    changed = [f"{k}={v:.6g}" for k, v in d.law.as_dict().items() if v != SPECS[d.law.kind][k].default]
    lines.append(f"law differs  {', '.join(changed) or 'in nothing'} (from the defaults of its kind)")
    for title, part in (("provenance", doc["provenance"]), ("measured", doc["measured"])):
        lines += [f"{title:<12} {line(k)}: {line(v if isinstance(v, str) else json.dumps(v))}" for k, v in part.items()]
    return "\n".join(lines)


# -- reading -----------------------------------------------------------------------------------------------------------


def _parse(data: bytes) -> Learned:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    if len(data) < 8 or struct.unpack("<Q", data[:8])[0] > len(data) - 8:
        raise ValueError("not a safetensors file, or a truncated one")
    head_size = struct.unpack("<Q", data[:8])[0]
    if head_size > 4 * MAX_DOCUMENT:
        raise ValueError(f"the header of {head_size} bytes is larger than the limit of {4 * MAX_DOCUMENT}")
    head = parse_json(data[8 : 8 + head_size], "header", MAX_DEPTH)
    if not isinstance(head, dict):
        raise ValueError("the header is not a mapping")
    meta = head.pop("__metadata__", None)
    if not isinstance(meta, dict) or not isinstance(meta.get("stepsmith"), str):
        raise ValueError("no stepsmith metadata: not a controller file")
    text = meta["stepsmith"]
    if len(text) > MAX_DOCUMENT:
        raise ValueError(f"the document of {len(text)} characters is longer than the limit of {MAX_DOCUMENT}")
    doc = parse_json(text, "document", MAX_DEPTH)
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        raise ValueError(f"not a controller file: format is not {FORMAT!r}")
    if doc.get("schema") != SCHEMA or isinstance(doc["schema"], bool):
        raise ValueError(f"schema {shown(doc.get('schema'))} is unknown to this version, which reads schema {SCHEMA}")
    _keys(meta, {"stepsmith", "sha256"}, "metadata")
    for name, entry in head.items():
        if not isinstance(entry, dict) or entry.get("dtype") != "F64":
            got = entry.get("dtype") if isinstance(entry, dict) else entry
            raise ValueError(f"tensor {shown(name)} must be float64 (F64), got {shown(got)}")
    try:
        arrays = from_bytes(data)
    except SafetensorError as e:
        raise ValueError(f"not a valid safetensors file: {line(e, 200)}") from None
    if _digest(text, arrays) != meta["sha256"]:
        raise ValueError("the digest does not fit the content: the file was altered or damaged")
    return _build(doc, arrays)


def _build(doc: dict[str, Any], arrays: dict[str, np.ndarray]) -> Learned:
    _keys(doc, {"format", "schema", "name", "family", "observation", "action", "law", "layers", "provenance", "measured"}, "document")
    obs, act, law = (_mapping(doc[k], k) for k in ("observation", "action", "law"))
    _keys(obs, {"features", "bound"}, "observation")
    n_act = act.get("n")
    if isinstance(n_act, bool) or n_act not in N_ACTS:
        raise ValueError(f"action.n must be one of {', '.join(map(str, N_ACTS))}, got {shown(n_act)}")
    # files written before the bound was stated are under it all the same
    act.setdefault("accept_max", ACCEPT_MAX)
    algebra = _ALGEBRA if n_act == 4 else {}
    _keys(act, {"n", "residual_scale", "threshold_scale", "squash", "shrink", "slack", "accept_max", *algebra}, "action")
    _keys(law, {"name", "kind", "rules", "doc", "source", "coefficients"}, "law")
    for key, here in (("shrink", SHRINK), ("slack", SLACK), ("accept_max", ACCEPT_MAX), *algebra.items()):
        if _number(act[key], f"action.{key}", 0.0, 1e6) != here:
            raise ValueError(f"action.{key} is {shown(act[key])}; this version works with {here!r}")
    squash = act["squash"]
    if not isinstance(squash, str) or squash not in SQUASHES:
        raise ValueError(f"action.squash must be one of {', '.join(SQUASHES)}, got {shown(squash)}")
    observation = _observation(obs["features"])
    shapes = _layers(doc["layers"])
    expected: dict[str, tuple[int, ...]] = {"normaliser.shift": (observation.n,), "normaliser.scale": (observation.n,)}
    for i, (a, b, _) in enumerate(shapes):
        expected[f"layers.{i}.weight"], expected[f"layers.{i}.bias"] = (b, a), (b,)
    if squash == "argmax":
        if not 2 <= shapes[-1][1] <= MAX_ACTIONS:
            raise ValueError(f"the number of actions must be in [2, {MAX_ACTIONS}], got {shapes[-1][1]}")
        expected["table"] = (shapes[-1][1], n_act)
    _keys(arrays, set(expected), "tensors")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"tensor {name!r} must have shape {shape}, got {arrays[name].shape}")
        if not np.all(np.isfinite(arrays[name])):
            raise ValueError(f"tensor {name!r} holds values that are not finite")
    decision = Decision(
        observation,
        _law(law),
        _number(act["residual_scale"], "action.residual_scale", 0.0, 10.0),
        _number(act["threshold_scale"], "action.threshold_scale", 0.0, THRESHOLD_MOST),
        n_act,
        arrays["normaliser.shift"],
        arrays["normaliser.scale"],
        _number(obs["bound"], "observation.bound", 0.0, HUGE),
    )
    layers = [(arrays[f"layers.{i}.weight"], arrays[f"layers.{i}.bias"], s[2]) for i, s in enumerate(shapes)]
    name, family = _text(doc["name"], "name"), _text(doc["family"], "family")
    provenance, measured = _mapping(doc["provenance"], "provenance"), _mapping(doc["measured"], "measured")
    return Learned(decision, layers, squash, arrays.get("table"), name, family, provenance, measured)


def _observation(features: Any) -> Observation:
    if not isinstance(features, list) or len(features) > len(FEATURES):
        raise ValueError(f"observation.features must be a list of at most {len(FEATURES)} features")
    names = []
    for i, entry in enumerate(features):
        where = f"observation.features[{i}]"
        _keys(_mapping(entry, where), {"name", "clip", "shift", "scale"}, where)
        name = entry["name"]
        if not isinstance(name, str) or name not in FEATURES:
            raise unknown(where, name, FEATURES)
        f = FEATURES[name]
        if (entry["clip"], entry["shift"], entry["scale"]) != ([f.low, f.high], f.shift, f.scale):
            raise ValueError(f"{where}: clip, shift and scale of {name!r} differ from this version's")
        names.append(name)
    return Observation(tuple(names))


def _law(law: dict[str, Any]) -> Law:
    texts = {k: _text(law[k], f"law.{k}") for k in ("name", "rules", "doc", "source")}
    if not isinstance(law["kind"], str) or law["kind"] not in SPECS:
        raise unknown("kind of law", law["kind"], SPECS)
    coefficients = _mapping(law["coefficients"], "law.coefficients")
    _keys(coefficients, set(SPECS[law["kind"]]) - (_LATER - set(coefficients)), "law.coefficients")
    values = {k: _read_number(v, f"law.coefficients.{k}") for k, v in coefficients.items()}
    if law["kind"] == "constant":
        raise ValueError("law.kind 'constant' cannot stand in a file: it accepts every error, on any method")
    return Law(texts["name"], law["kind"], values, texts["rules"], texts["doc"], texts["source"])


def _layers(layers: Any) -> list[tuple[int, int, str]]:
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"layers must be a list of 1 to {MAX_LAYERS} layers")
    out = []
    for i, layer in enumerate(layers):
        _keys(_mapping(layer, f"layers[{i}]"), {"n_in", "n_out", "activation"}, f"layers[{i}]")
        for key in ("n_in", "n_out"):
            n = layer[key]
            if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_WIDTH:
                raise ValueError(f"layers[{i}].{key} must be an integer in [1, {MAX_WIDTH}], got {shown(n)}")
        if not isinstance(layer["activation"], str) or layer["activation"] not in ACTIVATIONS:
            raise ValueError(f"layers[{i}].activation must be one of {', '.join(ACTIVATIONS)}, got {shown(layer['activation'])}")
        out.append((layer["n_in"], layer["n_out"], layer["activation"]))
    return out


def _keys(given: Mapping[str, Any], wanted: set[str], what: str) -> None:
    missing, extra = sorted(wanted - set(given)), sorted(set(given) - wanted)
    if missing:
        raise ValueError(f"{what}: {', '.join(missing)} missing")
    if extra:
        raise ValueError(f"{what}: {', '.join(shown(e, 60) for e in extra[:5])} not understood")


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping, got {type(value).__name__}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"{what} must be text of at most {MAX_TEXT} printable characters, got {shown(value)}")
    return value


def _number(value: Any, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} must be a number in [{low:g}, {high:g}], got {shown(value, 60)}")
    return float(value)


def _write_number(x: float) -> float | str:
    return x if math.isfinite(x) else "inf" if x > 0 else "-inf"


def _read_number(value: Any, what: str) -> float:
    if value in ("inf", "-inf"):
        return math.inf if value == "inf" else -math.inf
    return _number(value, what, -1.7976931348623157e308, 1.7976931348623157e308)


def _plain(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, np.ndarray):
        return x.tolist()
    if isinstance(x, Mapping):
        return dict(x)
    raise TypeError(f"{type(x).__name__} is not JSON")


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    h = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name], dtype="<f8")
        h.update(f"\n{name} {list(a.shape)}\n".encode() + a.tobytes())
    return h.hexdigest()
