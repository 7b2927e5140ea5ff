"""Imported first by packages that need torch: says how to install it where it is not."""

from __future__ import annotations

import importlib

try:
    importlib.import_module("torch")
except ModuleNotFoundError as problem:
    if problem.name != "torch":  # torch is there, and lacks something itself
        raise
    raise ModuleNotFoundError(
        "stepsmith.neural, stepsmith.flows, and what is trained with them, need torch, which is not installed: "
        "pip install 'stepsmith[neural]'",
        name="torch",
    ) from None
