"""The fields whose steady states `stepsmith/SteadyState-v0` asks for, each from one number.

    dz/dt = f(z, x) - z,    f(z, x) = W2 tanh(W1 z + U x + b1) + b2,    z in R^8, 16 hidden units,

with b the sum U x + b1 of an instance's own input x.  In turned coordinates, z = Q w with an orthogonal Q, the field is
a cascade of blocks of one or two coordinates: the hidden units of a block see its own coordinates and those of the
blocks before it, and act on its own alone.  A block with coordinates v and hidden units in two groups k = 1, 2 is

    dv/dt = -v + sum_k share_k M D_k^-1 C_k^-1 tanh(C_k (v - v*) + coupling + u_k*) + constant,

    M = (1 - rate) I + turn J,    J = ((0, -1), (1, 0)),    D_k = diag(sech(u_k*)^2),    C_k = diag(the units' scales),

so that v* is the fixed point and -rate +- i turn are the eigenvalues of its Jacobian (turn = 0 in one coordinate).

Every fixed point attracts every start.  A difference of two solutions of a block under the same coupling obeys
d delta/dt = A(t) delta with A = -I + M diag(d1, d2), where 0 <= d_i <= D = max 1/sech(u*)^2, because mean slopes of
tanh lie between 0 and 1.  The largest eigenvalue of the symmetric part of A is convex in (d1, d2), so it is largest
in a corner of that square, and it is negative in all corners where

    m D < 1    and    turn < 2 sqrt(1 - m D) / D,    m = 1 - rate,

(the second for the corners (D, 0) and (0, D)).  `draw` keeps both.  So every block contracts, whatever the bounded
coupling does: the first block goes to its fixed point, the coupling of the next one then settles, and so on.  With that
the fixed point is the only one.

Rates lie between the slowest and the stiffest: they say how long a solve takes, and at which size its steps become
unstable, in units of the decay -z.  The stiffest is drawn log-uniformly in STIFFEST, the slowest log-uniformly in what
STRETCH leaves of SLOWEST.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .places import HIDDEN, WIDTH

TRAIN, VALIDATION, TEST = 512, 128, 256
SPLITS = {
    "train": range(TRAIN), "validation": range(TRAIN, TRAIN + VALIDATION),
    "test": range(TRAIN + VALIDATION, TRAIN + VALIDATION + TEST),
}  # fmt: skip
#: ranges of the slowest rate and of the modulus of the stiffest eigenvalue, both log-uniform
SLOWEST, STIFFEST = (0.2, 1.0), (2.0, 50.0)
#: most that the stiffest eigenvalue is of the slowest rate: what keeps solves within some hundred attempts
STRETCH = 60.0
#: range of the scales of hidden units, log-uniform; size of the coupling of a unit to each earlier coordinate
SCALES, COUPLING = (0.1, 0.8), 0.2
#: most that a hidden unit is away from the middle of tanh at the fixed point, where the rate is no smaller than 1
OFF_CENTRE = 0.8
#: range of turn, as a share of what is proved to contract
TURNS = (0.3, 0.95)
_SEED = 70_220_112


@dataclass(frozen=True)
class Fields:
    """Fields of some instances, float64: w1 (n, WIDTH, HIDDEN) and w2 (n, HIDDEN, WIDTH), both transposed; b (n,
    HIDDEN), U x + b1; c (n, WIDTH), b2; fixed (n, WIDTH), the steady states; spectrum (n, WIDTH) complex128, the
    eigenvalues of the Jacobian of f - z there."""

    w1: np.ndarray
    b: np.ndarray
    w2: np.ndarray
    c: np.ndarray
    fixed: np.ndarray
    spectrum: np.ndarray


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _units(rng: np.random.Generator, rate: float, count: int) -> np.ndarray:
    """(count,) the inner values u* of hidden units at the fixed point: near 0 where the rate is small, so that (1 -
    rate) / sech(u*)^2 stays below 1 - rate/2."""
    most = OFF_CENTRE
    if rate < 1.0:
        most = min(most, float(np.arccosh(np.sqrt((1.0 - 0.5 * rate) / (1.0 - rate)))))
    return most * rng.uniform(-1.0, 1.0, count)


def _blocks(rng: np.random.Generator) -> list[tuple[float, int]]:
    """(modulus, coordinates) of the blocks: pairs and single ones, the slowest and the stiffest among them."""
    sizes = [2] * int(rng.integers(0, 4))
    sizes += [1] * (WIDTH - sum(sizes))
    rng.shuffle(sizes)
    stiffest = _between(rng, *STIFFEST)
    slowest = _between(rng, max(SLOWEST[0], stiffest / STRETCH), SLOWEST[1])
    moduli = [slowest, stiffest, *(_between(rng, slowest, stiffest) for _ in sizes[2:])]
    return [(moduli[i], size) for i, size in zip(rng.permutation(len(sizes)), sizes, strict=True)]


def _rate_and_turn(rng: np.random.Generator, modulus: float, size: int) -> tuple[float, float, np.ndarray]:
    """Real part (negated) and imaginary part of a block's eigenvalues with about this modulus, and its u* (2 size,)."""
    off = _units(rng, modulus, 2 * size)
    if size == 1:
        return modulus, 0.0, off
    largest = float((np.cosh(off) ** 2).max())
    turn = rng.uniform(*TURNS) * 2.0 * np.sqrt(1.0 - (1.0 - modulus) * largest) / largest
    if modulus > 1.0:  # the stiff end of the spectrum stays where it was drawn
        turn = min(turn, 0.5 * modulus)
        rate = np.sqrt(modulus**2 - turn**2)
        # a smaller rate allows less
        turn = min(turn, 0.95 * 2.0 * np.sqrt(1.0 - (1.0 - rate) * largest) / largest)
        return float(rate), float(turn), off
    return modulus, float(turn), off


def draw(number: int) -> dict[str, np.ndarray]:
    """The field of instance `number`: the arrays of `Fields`, of one instance."""
    rng = np.random.default_rng([_SEED, number])
    inner, outer = np.zeros((HIDDEN, WIDTH)), np.zeros((WIDTH, HIDDEN))
    fixed, centre = rng.standard_normal(WIDTH), np.zeros(HIDDEN)
    spectrum: list[complex] = []
    at = 0
    for modulus, size in _blocks(rng):
        rate, turn, off = _rate_and_turn(rng, modulus, size)
        own, units = slice(at, at + size), slice(2 * at, 2 * (at + size))
        scale = np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), 2 * size))
        shares = rng.uniform(0.2, 0.8)
        gain = (1.0 - rate) * np.eye(size)
        if size == 2:
            gain += turn * np.array([[0.0, -1.0], [1.0, 0.0]])
        inner[units, :at] = COUPLING * rng.standard_normal((2 * size, at))
        for group, share in ((0, shares), (1, 1.0 - shares)):
            rows = slice(2 * at + group * size, 2 * at + (group + 1) * size)
            part = slice(group * size, (group + 1) * size)
            inner[rows, own] = np.diag(scale[part])
            outer[own, rows] = share * gain / (scale[part] / np.cosh(off[part]) ** 2)
        centre[units] = off
        spectrum += [complex(-rate, turn), complex(-rate, -turn)] if size == 2 else [complex(-rate)]
        at += size
    turned = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    b, c = centre - inner @ fixed, fixed - outer @ np.tanh(centre)
    return {
        "w1": (inner @ turned.T).T, "b": b, "w2": (turned @ outer).T, "c": turned @ c, "fixed": turned @ fixed,
        "spectrum": np.array(spectrum),
    }  # fmt: skip


@functools.lru_cache(maxsize=8)
def fields(split: str, count: int) -> Fields:
    """The first `count` instances of a split, read-only; row i is instance `SPLITS[split][i]`."""
    drawn = [draw(number) for number in SPLITS[split][:count]]
    arrays = {name: np.ascontiguousarray([one[name] for one in drawn]) for name in drawn[0]}
    for array in arrays.values():
        array.flags.writeable = False
    return Fields(**arrays)
