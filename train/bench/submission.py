"""What is evaluated: a controller (a file, a name, an object), or a policy, a function of observations to actions.

    "mine.safetensors"          a controller file
    "three-body", "pi34"        a controller of the zoo, or a law
    "policy.py:act"             the function (or controller) `act` of a Python file
    policy                      any callable: float32 (lanes, n_obs) -> numbers in [-1, 1], (lanes, n_act)

A policy plays in the protocol's environment: it sees the protocol's features and changes the law `Protocol.base`.
Where it has a method `reset`, that is called with the number of lanes before their episodes begin, for policies with a
memory.
A controller is run by the solver as it is; it may read other features and change another law.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers import hub, resolve
from ...controllers.file import MAX_FILE
from ...integrators import methods
from ...integrators.core import contract, tolerance_scale
from ...integrators.core.errors import OptionError, shown
from ...integrators.engine.solve import check_controller
from ...integrators.problems import places
from .instance_file import BenchError
from .protocol import Protocol

Policy = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Submission:
    """A submission that fits a protocol.  One of `controller` and `policy` is there.

    name     what it is called
    source   what was given: a path, "file.py:NAME", or what kind of object
    sha256   of the file that it came from; None where there is none
    """

    name: str
    source: str
    sha256: str | None
    controller: Any = None
    policy: Policy | None = None


def taken(given: Any, protocol: Protocol, name: str | None = None) -> Submission:
    """What the caller gave as a submission to `protocol`, called `name` (default: its own name).

    BenchError for what is neither controller nor policy; ValueError for unknown names, damaged files, and for a
    controller that the protocol's method does not serve.
    """
    source, sha256, found = _found(given, protocol)
    found = tolerance_scale.unscaled(found)  # a comparison at equal error
    if not contract.missing(found, compiled=False):
        label = name or str(found.name)
        batch = protocol.family.split("test", 1)
        try:
            check_controller(found, methods.get(protocol.method), batch)
        except ValueError as error:
            raise BenchError(f"{label} does not fit {protocol.name} ({protocol.method}): {error}") from None
        return Submission(label, source, sha256, controller=found)
    if callable(found) and not isinstance(found, type):
        own = str(getattr(found, "__name__", "policy"))
        own = own if own.isidentifier() else "policy"
        return Submission(name or own, source, sha256, policy=found)
    raise BenchError(
        f"a submission is a controller (file, name or object) or a function of observations to actions, got "
        f"{shown(found)}"
    )


def _found(given: Any, protocol: Protocol) -> tuple[str, str | None, Any]:
    """(what was given, the digest of its file, the object)."""
    if not isinstance(given, (str, os.PathLike)):
        return type(given).__name__, None, given
    text = os.fspath(given)
    file, colon, member = text.rpartition(":")
    if colon and file.endswith(".py"):
        return text, _digest(Path(file)), _member(Path(file), member)
    if text.endswith(".py"):
        raise BenchError(f"{text}: name what is to be evaluated in it, as in {text}:act")
    if hub.is_hub(text):
        controller = resolve.controller(text)  # refused before its digest is taken
        return text, hashlib.sha256(hub.bytes_of(text, "controller file", MAX_FILE)).hexdigest(), controller
    sha256 = _digest(Path(text)) if text.endswith((".safetensors", ".json")) else None
    return text, sha256, resolve.controller(text, protocol.name, protocol.method)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BenchError(f"{path}: cannot be read: {error.strerror}") from None


def _member(path: Path, name: str) -> Any:
    """The object `name` of a Python file; BenchError where the file raises or has no such object."""
    try:
        module = places.file_module(str(path), "a submission")
    except OptionError as error:
        raise BenchError(str(error)) from error.__cause__
    if not hasattr(module, name):
        raise BenchError(f"{path} has no {name!r}")
    return getattr(module, name)
