"""What a user's function is given in place of arrays when it is run once in plain Python, and how long that run may
take.

y and p stand in as arrays that cannot be written to, dy as one that knows what has been written, J as a matrix that
keeps what was written. An access that compiled code would not survive is noted in `Run` and raises `Broken`.
"""

from __future__ import annotations

import contextlib
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import shown

#: after so many accesses, or so many seconds, the run is given up: it is to take less than the compiler
ACCESSES = 500_000
SECONDS = 0.5

UNUSABLE = "cannot be used"


class Broken(Exception):
    """What a function did that it must not do."""


class Enough(BaseException):
    """The run takes too long."""


class Run:
    """What happened in one run."""

    def __init__(self) -> None:
        self.left = ACCESSES
        self.broken: str | None = None
        self.what = "cannot be compiled"

    def fail(self, words: str, what: str = "cannot be compiled") -> Broken:
        if self.broken is None:  # the function may catch the exception
            self.broken, self.what = words, what
        return Broken(words)

    def index(self, name: str, i: Any, size: int) -> int:
        """`i` as a place from 0 to size - 1."""
        self.left -= 1
        if self.left < 0:
            raise Enough
        if isinstance(i, (float, np.floating, slice, type(None), type(Ellipsis), str)):
            got = "a slice" if isinstance(i, slice) else shown(i)
            raise self.fail(f"{name} takes whole numbers as indices, got {got}")
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)):
            raise TypeError(f"no index: {type(i)}")  # of the compiler's own types, perhaps
        if not -size <= i < size:
            raise self.fail(f"{name}[{i}]: index {i} is outside an array of length {size}")
        return int(i) % size


class Frozen:
    """y or p."""

    def __init__(self, run: Run, name: str, values: np.ndarray) -> None:
        self.run, self.name, self.values = run, name, list(np.asarray(values, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        raise TypeError("cannot be iterated over")

    def __getitem__(self, i: Any) -> Any:
        return self.values[self.run.index(self.name, i, len(self.values))]

    def __setitem__(self, i: Any, x: Any) -> None:
        raise self.run.fail(f"it writes {self.name}[{shown(i)}]: y and p are the solver's own and cannot be written to")


class Filled(Frozen):
    """dy or a."""

    def __init__(self, run: Run, name: str, size: int) -> None:
        self.run, self.name, self.values = run, name, [None] * size

    def __getitem__(self, i: Any) -> Any:
        at = self.run.index(self.name, i, len(self.values))
        if self.values[at] is None:
            words = f"it reads {self.name}[{i}] before it has written it: {self.name} holds no values when it is called"
            raise self.run.fail(words, UNUSABLE)
        return self.values[at]

    def __setitem__(self, i: Any, x: Any) -> None:
        self.values[self.run.index(self.name, i, len(self.values))] = np.float64(x)


class Matrix:
    """J; what is written is looked at by `jacobian_check`."""

    def __init__(self, run: Run, n: int) -> None:
        self.run, self.n = run, n
        self.values: dict[tuple[int, int], Any] = {}

    def _place(self, index: Any) -> tuple[int, int]:
        if not isinstance(index, tuple) or len(index) != 2:
            raise self.run.fail(f"J takes two indices, J[i, j], got {shown(index)}")
        try:
            return self.run.index("J", index[0], self.n), self.run.index("J", index[1], self.n)
        except Broken:
            words = f"index {shown(index)} is outside a matrix of {self.n} by {self.n}"
            if all(isinstance(i, (int, np.integer)) for i in index):
                self.run.broken = words
            raise

    def __getitem__(self, index: Any) -> Any:
        return self.values.get(self._place(index), np.float64(0.0))

    def __setitem__(self, index: Any, x: Any) -> None:
        self.values[self._place(index)] = np.float64(x)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Enough` in this thread, at the next line of a function of the user's, once so much time has passed."""
    end, clock, here = time.perf_counter() + seconds, time.perf_counter, __file__

    def line(frame: types.FrameType, event: str, arg: Any) -> Any:
        if clock() > end:
            raise Enough
        return line

    def call(frame: types.FrameType, event: str, arg: Any) -> Any:
        return None if frame.f_code.co_filename == here else line(frame, event, arg)

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
