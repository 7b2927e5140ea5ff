"""A training run: one configuration, its folder, checkpoints and files, what made it, and its progress."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # as attributes, asked for when they are needed: most modules here are used by ones that know nothing of training
    if name in ("train", "export"):
        from . import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
