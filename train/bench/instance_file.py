"""The instances of a protocol as a text file: a line an instance, numbers with all their digits.

    index,split,t0,t1,y0,...,p0,...
    0,test,0.0,2.81...,...

The file is what counts: it ships, and the protocol holds its digest, so that neither another version of NumPy nor
another processor can change an instance.  `splitting` says how it was made, and a test makes it again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...integrators.problems.families import Family
from ...integrators.problems.problem import Batch
from .splitting import drawn, split_of


class BenchError(ValueError):
    """A protocol, a submission or a folder of runs that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Instances:
    """All instances of a protocol: their numbers (B,), the splits they belong to, and their values.

    y0 (B, n), p (B, m), t0 (B,), t1 (B,).
    """

    index: np.ndarray
    split: tuple[str, ...]
    y0: np.ndarray
    p: np.ndarray
    t0: np.ndarray
    t1: np.ndarray

    def rows(self, split: str) -> np.ndarray:
        """Places of a split's instances in these arrays, in the order of their numbers."""
        return np.flatnonzero(np.array(self.split) == split)

    def batch(self, family: Family, rows: np.ndarray) -> Batch:
        """The instances at places `rows` as a batch of `family`."""
        like = family.sample(np.random.default_rng(0), 1)
        return replace(
            like, y0=self.y0[rows], p=self.p[rows], t0=self.t0[rows], t1=self.t1[rows], validate=False
        )


def digest(data: bytes) -> str:
    """SHA-256 of a text file's bytes, in hexadecimals; line ends count as \\n."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


def checked(path: Path, sha256: str) -> bytes:
    """A file of a protocol; BenchError where it is not there, or is not the one that the protocol was frozen with."""
    try:
        data = path.read_bytes().replace(b"\r\n", b"\n")
    except OSError as error:
        raise BenchError(f"{path}: a file of the protocol cannot be read: {error.strerror}") from None
    found = digest(data)
    if found != sha256:
        raise BenchError(
            f"{path}: not the file that the protocol was frozen with (its SHA-256 is {found[:12]}..., and must be "
            f"{sha256[:12]}...): install the package again"
        )
    return data


def text(protocol: str, family: Family, count: int) -> str:
    """The text of the file of instances 0 to count - 1, drawn anew."""
    lines = [",".join(["index", "split", "t0", "t1", *_names("y", family.n), *_names("p", family.m)])]
    for i in range(count):
        one = drawn(protocol, family, i)
        numbers = [one.t0[0], one.t1[0], *one.y0[0], *one.p[0]]
        lines.append(",".join([str(i), split_of(protocol, i), *(repr(float(v)) for v in numbers)]))
    return "\n".join(lines) + "\n"


def parse(data: bytes, n: int, m: int) -> Instances:
    """The instances of a file with n values of the state and m parameters a line."""
    head, *lines = data.decode().splitlines()
    wanted = ["index", "split", "t0", "t1", *_names("y", n), *_names("p", m)]
    if head.split(",") != wanted:
        raise BenchError(f"instance file: its columns must be {','.join(wanted)}, got {head}")
    cells = [line.split(",") for line in lines]
    values = np.array([[float(v) for v in row[2:]] for row in cells])
    return Instances(
        np.array([int(row[0]) for row in cells]), tuple(row[1] for row in cells),
        values[:, 2 : 2 + n].copy(), values[:, 2 + n :].copy(), values[:, 0].copy(), values[:, 1].copy(),
    )  # fmt: skip


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{i}" for i in range(count)]
