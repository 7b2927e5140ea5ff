"""The controller file: one `.safetensors` with JSON metadata (`docs/controller_file.md` is its specification).

Metadata `stepsmith` is a JSON document (`layout.document`), metadata `sha256` a digest of that text and of every
tensor; tensors are `layers.<i>.weight`, `layers.<i>.bias`, `normaliser.shift`, `normaliser.scale` and, for action
values, `table`, all float64.
"""

from .description import describe
from .layout import FORMAT, MAX_DOCUMENT, MAX_FILE, MAX_LAYERS, MAX_TEXT, MAX_WIDTH, SCHEMA, SUFFIX, document, tensors
from .reading import is_sampler, load, load_controller, load_learned
from .writing import save

__all__ = [
    "FORMAT", "MAX_DOCUMENT", "MAX_FILE", "MAX_LAYERS", "MAX_TEXT", "MAX_WIDTH", "SCHEMA", "SUFFIX", "describe",
    "document", "is_sampler", "load", "load_controller", "load_learned", "save", "tensors",
]  # fmt: skip
