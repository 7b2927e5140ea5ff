"""The network of a learned controller as an ONNX model, with what a host needs besides in its metadata.

Input "features", float64 (batch, frames * n_obs): the features as the observation gives them, clipped, shifted and
scaled by the published table, before the policy's own normaliser, which is part of the model.  Where the network sees
several attempts (`frames`), they stand one behind the other, the newest last; frames that do not exist yet hold the
normaliser's shift, which it turns into the zeros of a trajectory's start.  Output "action", float64 (batch, n_act):
actions in [-1, 1], after squash or choice, NaN where the network's answer is not finite (a host then takes the law's
decision).

Features, lags and the law on which the actions act are the host's; the metadata says what they are.  `in_c` and
`in_python` write all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...integrators.core import record as rec
from ...integrators.core.contract import bind
from ...integrators.core.errors import shown
from ..file.layout import document
from ..hosts.fitting import library
from ..learned.decision import SQUASHES
from ..learned.features import normalised
from ..learned.network import Learned
from ..learned.residual import squashed
from .expressions import Expr, Graph, Value, reached
from .printing import activation_function

OPSET, IR = 17, 8

_OPS = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "lt": "Less", "le": "LessOrEqual",
    "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal", "and": "And", "or": "Or", "not": "Not", "where": "Where",
    "min": "Min", "max": "Max", "fabs": "Abs", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "tanh": "Tanh",
}  # fmt: skip


def onnx_model(controller: Any) -> Any:
    """The `onnx.ModelProto` of a learned controller's network; `SerializeToString()` gives the bytes of a file.

    ValueError for a controller without a network, ImportError where onnx is not installed.
    """
    if not isinstance(controller, Learned):
        raise ValueError(
            f"controller {shown(getattr(controller, 'name', controller))} has no network, which is what an ONNX model "
            "holds: export it to c or python"
        )
    onnx = library("onnx", "1.16", "2")
    made = _Nodes(onnx)
    d, z = controller.decision, "features"
    if not d.plain:
        graph, rows = Graph(), np.tile(np.stack([d.shift, d.scale]), (1, controller.frames))
        x, shift, scale = (graph.symbol(name) for name in ("x", "shift", "scale"))
        given = {("x",): z, ("shift",): made.constant(rows[0]), ("scale",): made.constant(rows[1])}
        z = made.expression(bind(normalised, graph.namespace)(x, shift, scale, d.obs_clip), given)
    for weight, bias, activation in controller.layers:
        z = made.node("Gemm", [z, made.constant(weight), made.constant(bias)], transB=1)
        if activation != "linear":
            z = made.expression(activation_function(activation)[0], {("z",): z})
    graph = Graph()
    raw = graph.symbol("z")
    if controller.table is None:
        names = {"SQUASH": SQUASHES.index(controller.squash)}
        value = bind(bind(squashed, names), graph.namespace)(raw)
        action = made.expression(value, {("z",): z})
    else:
        best = made.node("ArgMax", [z], axis=1, keepdims=0, select_last_index=0)
        hurt = made.node("ReduceSum", [made.node("Sub", [z, z]), made.constant(np.array([1]))], keepdims=1)
        action = made.node("Add", [made.node("Gather", [made.constant(controller.table), best], axis=0), hurt])
    made.node("Identity", [action], output="action")
    return _model(onnx, controller, made)


class _Nodes:
    """Nodes and constants of a model in the making; texts are names of tensors."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """A constant tensor."""
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """A node with one output."""
        output = f"v{len(self.nodes)}" if output is None else output
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def expression(self, root: Value, symbols: dict[tuple, str]) -> str:
        """The tensor of an expression over tensors."""
        names: dict[Expr, str] = {}

        def name(x: Value) -> str:
            return names[x] if isinstance(x, Expr) else self.constant(np.float64(x))

        for node in reached([root]):
            known = node.op == "symbol"
            names[node] = symbols[node.args] if known else self.node(_OPS[node.op], [name(x) for x in node.args])
        return name(root)


def _model(onnx: Any, controller: Learned, made: _Nodes) -> Any:
    helper, double, d = onnx.helper, onnx.TensorProto.DOUBLE, controller.decision
    n_in = controller.frames * d.n_obs
    graph = helper.make_graph(
        made.nodes, "stepsmith",
        [helper.make_tensor_value_info("features", double, ["batch", n_in])],
        [helper.make_tensor_value_info("action", double, ["batch", d.n_act])],
        made.constants,
    )  # fmt: skip
    model = helper.make_model(
        graph, producer_name="stepsmith", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
    )
    helper.set_model_props(model, metadata(controller))
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(controller: Learned) -> dict[str, str]:
    """What the model says of itself, by key; all but `how` and the names are JSON.

    stepsmith.document is what the controller's own file holds, weights aside: law and its coefficients, clips, scales,
    provenance.
    """
    d = controller.decision
    features = [
        {
            "name": f.name, "doc": f.doc, "clip": [f.low, f.high], "shift": f.shift, "scale": f.scale,
            "slots": [rec.NAMES[slot] for slot in sorted(f.slots)],
        }
        for f in d.observation.table
    ]  # fmt: skip
    actions = [
        {"name": a.name, "turns": a.knob, "doc": a.doc,
         "scale": {"size": d.residual_scale, "threshold": d.threshold_scale}.get(a.knob, a.scale)}
        for a in d.actions
    ]  # fmt: skip
    normaliser = {"shift": d.shift.tolist(), "scale": d.scale.tolist(), "bound": d.obs_clip, "in_the_model": True}
    law = {"name": d.law.name, "kind": d.law.kind, "coefficients": document(controller)["law"]["coefficients"]}
    found = {
        "features": features, "frames": controller.frames, "normaliser": normaliser, "actions": actions, "law": law,
        "tolerance_scale": controller.tolerance_scale, "document": document(controller),
    }  # fmt: skip
    texts = {f"stepsmith.{key}": json.dumps(value, allow_nan=False) for key, value in found.items()}
    return {
        "stepsmith.name": controller.name, "stepsmith.family": controller.family,
        "stepsmith.method": controller.trained_method or "", "stepsmith.how": HOW, **texts,
    }  # fmt: skip


HOW = (
    "features: (clip(value, clip) - shift) * scale, 0 for NaN, in this order; frames: so many attempts, the newest "
    "last, missing ones filled with the normaliser's shift. action: in [-1, 1], NaN where the law decides alone. An "
    "action a on the size adds scale * a to the law's log(h_next/h) before its limiter; one on the threshold adds "
    "scale * a to the log of the largest error accepted. Solve at tolerance_scale times rtol and atol. Law and rules: "
    "stepsmith.document."
)
