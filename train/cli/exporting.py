"""What `stepsmith export --to` does: a controller as C, Python or ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...controllers import in_place
from ...integrators.core import options

#: how files of a target end, the first one as the help says it
ENDS = {"c": (".h", ".hpp", ".hh"), "python": (".py",), "onnx": (".onnx",)}


def write(what: str, out: Path, to: str, name: str | None = None) -> Path:
    """Write the controller `what` as source of the kind `to` to `out`; returns the path.

    what: a controller file, a name of the zoo or of a law, a tuned law (.json), or a run folder.  name: what it is
    called in C or Python.  ValueError for what is no controller, an unknown kind, a file name that does not end as the
    kind's, and a controller that this kind cannot hold.
    """
    from ...controllers import export

    options.choice("--to", to, ENDS)
    if out.suffix not in ENDS[to]:
        raise ValueError(f"--out must end in {ENDS[to][0]} for --to {to}, got {options.shown(str(out))}")
    if to == "onnx" and name is not None:
        raise ValueError("--name goes with --to c and python: an ONNX model keeps the name that the controller has")
    controller = _found(what)
    if to == "onnx":
        data = export.onnx_model(controller).SerializeToString()
    else:
        data = (export.c_header if to == "c" else export.python_file)(controller, name).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    in_place.write(out, data)
    return out


def _found(what: str) -> Any:
    from ...controllers import resolve

    folder = Path(what)
    if folder.is_dir():
        # of a strength its own file says that it is no controller
        found = [p for p in (folder / f"{name}.safetensors" for name in ("controller", "strength")) if p.exists()]
        if not found:
            raise ValueError(f"{what}: no controller in this run folder")
        what = str(found[0])
    return resolve.controller(what)
