"""Threads of torch for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def torch_threads(count: int = 1) -> Iterator[None]:
    """Let torch use `count` threads inside, and as many as before behind.

    Two threads on a small network cost more than they give.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
