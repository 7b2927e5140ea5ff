"""A controller as source that needs nothing of this package: one C header, one Python file, or an ONNX model.

    from stepsmith.controllers import export
    text = export.c_header(stepsmith.controller("three-body"))

The C header and the Python file decide as the controller does, state and law included; the ONNX model is the network of
a learned controller alone.  `stepsmith export three-body --to c --out three_body.h` writes one.
"""

from .in_c import c_header
from .in_python import python_file
from .onnx_graph import onnx_model

__all__ = ["c_header", "onnx_model", "python_file"]
