"""Controllers by name: laws, this family's tuned law, the zoo, and files."""

from __future__ import annotations

import functools
import os
from typing import Any

from ..integrators.names import unknown
from . import registry


def controller(name: str, family: str | None = None, method: str | None = None) -> Any:
    """The controller called `name`: a law, "tuned", a zoo name or the path of a `.safetensors` file.

    "tuned" is the law that `stepsmith tune` found for the family and method.  Raises ValueError naming the nearest.
    """
    if name == "tuned":
        from .tuned import tuned

        if family is None:
            raise ValueError("controller 'tuned' belongs to a family; this problem has none: name a law or a controller file")
        return tuned(family, method)
    if name.endswith(".safetensors") or os.sep in name:
        from .file import load_controller

        return load_controller(name)
    return _by_name(name)


@functools.cache
def _by_name(name: str) -> Any:
    if name in registry.names():
        return registry.get(name)
    from .zoo import names as zoo_names

    zoo = zoo_names()
    if name in zoo:
        from .file import load_controller

        return load_controller(name)
    raise unknown("controller", name, [*registry.names(), *zoo, "tuned"])
