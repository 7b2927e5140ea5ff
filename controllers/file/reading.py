"""Reading a controller file.

Reading executes nothing: safetensors holds numbers, the document is JSON, and every name, key, shape, dtype, bound and
size is checked against what this version understands.  Whatever does not fit is a ValueError that says what.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ...integrators.core import tolerance_scale
from ...integrators.core.activations import ACTIVATIONS, leaky
from ...integrators.core.contract import ACCEPT_MAX
from ...integrators.core.errors import shown
from ...integrators.core.names import unknown
from ...integrators.core.reading import read_bytes
from .. import hub, zoo
from ..hub import bytes_of
from ..laws.coefficients import SPECS
from ..laws.law import Law
from ..learned import products
from ..learned.actions import KNOBS, MOST, SETS, chosen
from ..learned.decision import Decision
from ..learned.frames import MOST as MOST_FRAMES
from ..learned.network import SQUASHES, Learned
from ..learned.observation import FEATURES, HUGE, Observation
from ..learned.residual import SHRINK, SLACK
from .checks import keys, mapping, number, read_number, text
from .container import format_of, unpack
from .layout import (
    FORMAT,
    LATER,
    MAX_ACTIONS,
    MAX_FILE,
    MAX_LAYERS,
    MAX_WIDTH,
    SAMPLER,
    STRENGTH,
    SUFFIX,
    TOLERANCE,
    algebra,
    own_scales,
)

if TYPE_CHECKING:
    from ...integrators.neural.strength import Strength

#: what a file of a strength is refused with where a step-size controller is wanted
NO_STEPS = "holds a strength of a regulariser, no step-size controller: NeuralODE(..., strength=load_controller(...))"
#: and a file of a learned sampler
NO_CONTROLLER = "holds a learned sampler, no step-size controller: ss.flows.sample(..., schedule=PATH)"


def load(path: str | os.PathLike[str]) -> Learned:
    """Read a controller file: a regular file of at most `MAX_FILE` bytes, or one on the Hub by its name (`hub`).

    Raises ValueError naming what is wrong with a file that is truncated, altered, of another schema or not a
    controller, and FileNotFoundError where there is none.
    """
    data = bytes_of(path, "controller file", MAX_FILE)
    try:
        return parse(data)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def load_controller(name_or_path: str | os.PathLike[str]) -> Learned | Strength:
    """A step-size controller, or a strength of a regulariser at the beginning of a training run, of the zoo by name,
    from a file, or from the Hugging Face Hub.

    "hf:OWNER/REPO[/FILE][@REVISION]#sha256=HEX" names a file of the Hub and its digest (`controllers.hub`).  Anything
    else that ends in .safetensors or has a folder in it is a path.  Raises ValueError for an unknown name (naming the
    nearest) and as `load` does; ModuleNotFoundError for a strength where torch is missing, and for a name on the Hub
    without `huggingface_hub`.
    """
    if _is_name(name_or_path):
        return _strength(name_or_path) if name_or_path in zoo.strengths() else load_learned(name_or_path)
    data = bytes_of(name_or_path, "controller file", MAX_FILE)
    try:
        if format_of(data) != STRENGTH:
            return parse(data)
    except ValueError as e:
        raise ValueError(f"{name_or_path}: {e}") from None
    return _strength(os.fspath(name_or_path))


def load_learned(name_or_path: str | os.PathLike[str]) -> Learned:
    """As `load_controller`, of step-size controllers alone; ValueError for a strength."""
    if not _is_name(name_or_path):
        return load(name_or_path)
    name = name_or_path
    if name in zoo.strengths():
        raise ValueError(f"{name!r} of the zoo {NO_STEPS}")
    if name not in zoo.names():
        raise unknown("controller", name, [*zoo.names(), *zoo.strengths()])
    try:
        return parse(zoo.read(name))
    except ValueError as e:
        raise ValueError(f"{name} of the zoo: {e}") from None


def is_sampler(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether it is the path of a file that says it holds a learned sampler (`stepsmith.flows.Schedule`)."""
    if _is_name(name_or_path) or not os.path.isfile(name_or_path):
        return False
    try:
        return format_of(read_bytes(name_or_path, "controller file", MAX_FILE)) == SAMPLER
    except ValueError:
        return False


def _is_name(name_or_path: Any) -> TypeGuard[str]:
    """Whether it is a name of the zoo, and no path."""
    named = isinstance(name_or_path, str) and not hub.is_hub(name_or_path)
    return named and not name_or_path.endswith(SUFFIX) and not os.path.dirname(name_or_path)


def _strength(name: str) -> Strength:
    """A strength of the zoo or from a file; its room comes with torch."""
    from ..strengths.policy import trained

    return trained(name)


def parse(data: bytes) -> Learned:
    """The controller in the bytes of a file; ValueError naming what is wrong with them."""
    found = format_of(data)
    if found in (STRENGTH, SAMPLER):
        raise ValueError(f"this file {NO_STEPS if found == STRENGTH else NO_CONTROLLER}")
    return _build(*unpack(data, FORMAT, "controller file"))


def _build(doc: dict[str, Any], arrays: dict[str, np.ndarray]) -> Learned:
    wanted = {"format", "schema", "name", "family", "observation", "action", "law", "layers", "provenance", "measured"}
    keys(doc, wanted | ({TOLERANCE} & set(doc)), "document")
    obs, act, law = (mapping(doc[k], k) for k in ("observation", "action", "law"))
    frames = obs.get("frames", 1)
    keys(obs, {"features", "bound"} | ({"frames"} & set(obs)), "observation")
    if isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= MOST_FRAMES:
        raise ValueError(f"observation.frames must be an integer in [1, {MOST_FRAMES}], got {shown(frames)}")
    names = _actions(act)
    squash = _check_action(act, names, law)
    observation = _observation(obs["features"])
    shapes = layers_of(doc["layers"])
    _check_arrays(arrays, observation.n, shapes, squash, len(names))
    decision = Decision(
        observation,
        _law(law),
        number(act["residual_scale"], "action.residual_scale", 0.0, MOST["size"]),
        number(act["threshold_scale"], "action.threshold_scale", 0.0, MOST["threshold"]),
        None,
        arrays["normaliser.shift"],
        arrays["normaliser.scale"],
        number(obs["bound"], "observation.bound", 0.0, HUGE),
        names,
    )
    layers = [(arrays[f"layers.{i}.weight"], arrays[f"layers.{i}.bias"], s[2]) for i, s in enumerate(shapes)]
    name, family = text(doc["name"], "name"), text(doc["family"], "family")
    provenance, measured = mapping(doc["provenance"], "provenance"), mapping(doc["measured"], "measured")
    scale = number(doc.get(TOLERANCE, 1.0), TOLERANCE, tolerance_scale.LEAST, tolerance_scale.MOST)
    return Learned(
        decision, layers, squash, arrays.get("table"), name, family, provenance, measured, scale, frames
    )  # fmt: skip


def _check_action(act: dict[str, Any], names: tuple[str, ...], law: dict[str, Any]) -> str:
    """The file's squash, after a check of its action's keys and constants, and of the law's keys."""
    # files written before the bound was stated are under it all the same
    act.setdefault("accept_max", ACCEPT_MAX)
    scales = algebra(names)
    given = {"names", "own_scales"} & set(act)
    wanted = {"n", "residual_scale", "threshold_scale", "squash", "shrink", "slack", "accept_max", *scales, *given}
    keys(act, wanted, "action")
    keys(law, {"name", "kind", "rules", "doc", "source", "coefficients"}, "law")
    for key, here in (("shrink", SHRINK), ("slack", SLACK), ("accept_max", ACCEPT_MAX), *scales.items()):
        if number(act[key], f"action.{key}", 0.0, 1e6) != here:
            raise ValueError(f"action.{key} is {shown(act[key])}; this version works with {here!r}")
    own = own_scales(names)
    if act.get("own_scales", {}) != own:
        raise ValueError(f"action.own_scales is {shown(act.get('own_scales'))}; registered here is {own}")
    squash = act["squash"]
    if not isinstance(squash, str) or squash not in SQUASHES:
        raise ValueError(f"action.squash must be one of {', '.join(SQUASHES)}, got {shown(squash)}")
    return squash


def _check_arrays(
    arrays: dict[str, np.ndarray], n_obs: int, shapes: list[tuple[int, int, str]], squash: str, n_act: int
) -> None:
    """ValueError unless the file holds the tensors that its document asks for, of their shapes and finite."""
    expected: dict[str, tuple[int, ...]] = {"normaliser.shift": (n_obs,), "normaliser.scale": (n_obs,)}
    for i, (a, b, _) in enumerate(shapes):
        expected[f"layers.{i}.weight"], expected[f"layers.{i}.bias"] = (b, a), (b,)
    if squash == "argmax":
        if not 2 <= shapes[-1][1] <= MAX_ACTIONS:
            raise ValueError(f"the number of actions must be in [2, {MAX_ACTIONS}], got {shapes[-1][1]}")
        expected["table"] = (shapes[-1][1], n_act)
    check_arrays(arrays, expected)


def check_arrays(arrays: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    """ValueError unless a file holds just these tensors, of these shapes and finite."""
    keys(arrays, set(expected), "tensors")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"tensor {name!r} must have shape {shape}, got {arrays[name].shape}")
        if not np.all(np.isfinite(arrays[name])):
            raise ValueError(f"tensor {name!r} holds values that are not finite")


def _actions(act: dict[str, Any]) -> tuple[str, ...]:
    """Names of the actions: those in the file, or the set that its number of actions stands for."""
    n = act.get("n")
    if "names" not in act:
        if isinstance(n, bool) or not isinstance(n, (int, float)) or n not in SETS:
            raise ValueError(f"action.n must be one of {', '.join(map(str, SETS))}, got {shown(n)}")
        return SETS[int(n)]
    names = act["names"]
    if not isinstance(names, list) or len(names) > len(KNOBS) or n != len(names) or isinstance(n, bool):
        raise ValueError(f"action.names must be a list of action.n names, got {shown(names)}")
    chosen(names)
    return tuple(names)


def _observation(features: Any) -> Observation:
    if not isinstance(features, list) or len(features) > len(FEATURES):
        raise ValueError(f"observation.features must be a list of at most {len(FEATURES)} features")
    names = []
    for i, entry in enumerate(features):
        where = f"observation.features[{i}]"
        keys(mapping(entry, where), {"name", "clip", "shift", "scale"}, where)
        name = entry["name"]
        f = products.named(name, where)
        if (entry["clip"], entry["shift"], entry["scale"]) != ([f.low, f.high], f.shift, f.scale):
            raise ValueError(f"{where}: clip, shift and scale of {name!r} differ from this version's")
        names.append(name)
    return Observation(tuple(names))


def _law(law: dict[str, Any]) -> Law:
    texts = {k: text(law[k], f"law.{k}") for k in ("name", "rules", "doc", "source")}
    if not isinstance(law["kind"], str) or law["kind"] not in SPECS:
        raise unknown("kind of law", law["kind"], SPECS)
    coefficients = mapping(law["coefficients"], "law.coefficients")
    keys(coefficients, set(SPECS[law["kind"]]) - (LATER - set(coefficients)), "law.coefficients")
    values = {k: read_number(v, f"law.coefficients.{k}") for k, v in coefficients.items()}
    if law["kind"] == "constant":
        raise ValueError("law.kind 'constant' cannot stand in a file: it accepts every error, on any method")
    return Law(texts["name"], law["kind"], values, texts["rules"], texts["doc"], texts["source"])


def layers_of(layers: Any) -> list[tuple[int, int, str]]:
    """(n_in, n_out, activation) of every layer that a document lists; ValueError naming what does not fit."""
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"layers must be a list of 1 to {MAX_LAYERS} layers")
    out = []
    for i, layer in enumerate(layers):
        kind = mapping(layer, f"layers[{i}]").get("activation")
        own = {"slope"} if kind == "leaky_relu" else set()
        keys(layer, {"n_in", "n_out", "activation"} | own, f"layers[{i}]")
        for key in ("n_in", "n_out"):
            n = layer[key]
            if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_WIDTH:
                raise ValueError(f"layers[{i}].{key} must be an integer in [1, {MAX_WIDTH}], got {shown(n)}")
        if not isinstance(kind, str) or kind not in ACTIVATIONS:
            raise ValueError(f"layers[{i}].activation must be one of {', '.join(ACTIVATIONS)}, got {shown(kind)}")
        if own:
            kind = leaky(read_number(layer["slope"], f"layers[{i}].slope"))
        out.append((layer["n_in"], layer["n_out"], kind))
    return out
