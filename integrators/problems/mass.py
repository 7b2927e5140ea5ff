"""Mass matrices: problems M y' = f(t, y; p) with a constant matrix M, which may be singular.

Where M is singular, combinations of the equations hold no derivative: they are algebraic.  With P the orthogonal
projector onto the left null space of M (w M = 0), they are P f(t, y) = 0.  The system is of index 1 where

    S = M + c P df/dy        (any c > 0)

is regular.  Then, at a state that satisfies P f = 0, the slope y' solves S y' = (I - P) f - c P df/dt; and at a state
that does not, Newton's correction that leaves M y as it is solves S d = -c P f.

M couples rows in blocks (connected components of the bipartite graph of rows and columns), and P is found block by
block, by singular values of the block with its rows and columns scaled to 1.

A state of another shape than a vector is flattened (`states`), and M is that of the flattened state.  What has the
state's own shape is a diagonal, one number a component.  For N complex numbers M is (N, N), real or complex, and acts
on these numbers; (2N, 2N) acts on their real and imaginary parts in turn.

Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 2nd ed., Springer 1996, VI.1; P. N. Brown,
A. C. Hindmarsh, L. R. Petzold, Consistent initial condition calculation for differential-algebraic systems, SIAM J.
Sci. Comput. 19 (1998) 1495.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import OptionError, shown
from .states import State

#: singular values of a scaled block that are smaller, beside the largest, are 0
RANK = 1e-13
#: rows of a block beyond which it is asked first, more cheaply, whether it is regular
LARGE = 200


class _Checked(np.ndarray):
    """A mass matrix that was checked: float64, read-only, (n,) where it is diagonal, else (n, n)."""

    name: str | None = None

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.flags.writeable = False


def checked(value: Any, n: int, state: State | None = None) -> Any:
    """`mass` of a Problem as it is kept: None for the identity, a read-only float64 array (n,) where the matrix is
    diagonal, else (n, n).

    value: None, (n, n), (n,) for a diagonal, or a SciPy sparse matrix; for a state of another shape see the module's
    first lines.  OptionError for anything else, for entries that are not finite, and where all of them are 0.
    """
    if value is None or (isinstance(value, _Checked) and value.shape in ((n,), (n, n))):
        return value
    if hasattr(value, "toarray"):
        value = value.toarray()
    try:
        raw = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged, or an object that refuses to become an array
        raise OptionError(f"mass must be an array of numbers, got {shown(value)}") from None
    if raw.dtype.kind not in ("fiubc" if state is not None and state.is_complex else "fiub"):
        raise OptionError(f"mass must hold real numbers, got dtype {raw.dtype}")
    if not np.isfinite(raw).all():
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(np.atleast_1d(raw)))[0])
        raise OptionError(f"mass must be finite, but entry {at if len(at) > 1 else at[0]} is {np.atleast_1d(raw)[at]}")
    matrix = _real(raw, n, state).astype(np.float64)
    if matrix.ndim == 2 and not np.any(matrix[~np.eye(n, dtype=bool)]):
        matrix = matrix.diagonal()
    if matrix.ndim == 1 and np.all(matrix == 1.0):
        return None
    if not matrix.any():
        raise OptionError(
            "mass is 0 everywhere: nothing is integrated; solve f(t, y) = 0 with a root finder, such as "
            "scipy.optimize.root"
        )
    kept = np.array(matrix, order="C").view(_Checked)
    kept.flags.writeable = False
    return kept


def _real(raw: np.ndarray, n: int, state: State | None) -> np.ndarray:
    """(n,) or (n, n) of the flattened real state; OptionError for another shape."""
    shape = (n,) if state is None else state.shape
    count = math.prod(shape)
    own = raw.ravel() if raw.shape == shape else raw
    if state is not None and state.is_complex and own.shape in ((count,), (count, count)):
        if not np.any(own.imag):
            return np.repeat(own.real, 2) if own.ndim == 1 else np.kron(own.real, np.eye(2))
        square = np.diag(own) if own.ndim == 1 else own
        return np.kron(square.real, np.eye(2)) + np.kron(square.imag, np.array([[0.0, -1.0], [1.0, 0.0]]))
    if own.shape not in ((n,), (n, n)):
        diagonal = f"({n},)" if state is None else f"{shape}, the state's,"
        raise OptionError(f"mass must have shape ({n}, {n}), or {diagonal} for a diagonal, got shape {raw.shape}")
    if own.dtype.kind == "c":
        raise OptionError(f"mass of shape {raw.shape} acts on real and imaginary parts, and must be real")
    return own


def key(value: Any) -> str | None:
    """A hashable name of a checked `mass`."""
    if value is None or value.name is not None:
        return value if value is None else value.name
    name = hashlib.sha256(repr(value.shape).encode() + np.ascontiguousarray(value).tobytes()).hexdigest()
    if not value.flags.writeable:
        value.name = name
    return name


@dataclass(frozen=True, eq=False)
class Rows:
    """A matrix (n, n) by rows: of row i the columns `column[ptr[i]:ptr[i + 1]]` and their `value`s."""

    ptr: np.ndarray
    column: np.ndarray
    value: np.ndarray

    def dense(self) -> np.ndarray:
        """(n, n) float64."""
        n = len(self.ptr) - 1
        out = np.zeros((n, n))
        out[np.repeat(np.arange(n), np.diff(self.ptr)), self.column] = self.value
        return out

    def times(self, vector: np.ndarray) -> np.ndarray:
        """The product with `vector` (n,) or (n, k)."""
        row = np.repeat(np.arange(len(self.ptr) - 1), np.diff(self.ptr))
        out = np.zeros(vector.shape)
        value = self.value if vector.ndim == 1 else self.value[:, None]
        np.add.at(out, row, value * vector[self.column])
        return out

    def reordered(self, order: np.ndarray | None) -> Rows:
        """The matrix whose row and column q are row and column order[q] of this one."""
        if order is None:
            return self
        place = np.argsort(order)
        row = place[np.repeat(np.arange(len(order)), np.diff(self.ptr))]
        return _rows(len(order), row, place[self.column], self.value)

    def transposed(self) -> Rows:
        """By columns: of column j its rows."""
        n = len(self.ptr) - 1
        return _rows(n, self.column, np.repeat(np.arange(n), np.diff(self.ptr)), self.value)


def _rows(n: int, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> Rows:
    by = np.lexsort((column, row))
    row, column = np.asarray(row)[by], np.asarray(column, dtype=np.int64)[by]
    return Rows(np.searchsorted(row, np.arange(n + 1)), column, np.asarray(value, dtype=np.float64)[by])


@dataclass(frozen=True, eq=False)
class Mass:
    """What kernels and checks need of a mass matrix: its entries, those of P, and the rank of P, 0 for a regular M."""

    n: int
    matrix: Rows
    null: Rows
    nullity: int

    @property
    def singular(self) -> bool:
        """Whether there are algebraic equations."""
        return self.nullity > 0

    @property
    def diagonal(self) -> bool:
        """Whether M is diagonal: components are differential or algebraic."""
        row = np.repeat(np.arange(self.n), np.diff(self.matrix.ptr))
        return bool(np.array_equal(row, self.matrix.column))

    def slope_matrix(self, jacobian: np.ndarray) -> tuple[np.ndarray, float]:
        """S (n, n) and c, which makes both parts of it equally large, for df/dy (n, n)."""
        part = self.null.times(jacobian)
        top = float(np.abs(part).max(initial=0.0))
        c = float(np.abs(self.matrix.value).max()) / top if 0.0 < top < np.inf else 1.0
        return self.matrix.dense() + c * part, c


def analysed(value: np.ndarray) -> Mass:
    """The `Mass` of a checked `mass` that is not None."""
    return _analysed(key(value), _Held(value))


class _Held:
    """A matrix that does not take part in the cache's key (its hash does)."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)


@functools.lru_cache(maxsize=64)
def _analysed(name: str | None, held: _Held) -> Mass:
    value = np.asarray(held.value)
    n = len(value)
    if value.ndim == 1:
        full, none = np.flatnonzero(value), np.flatnonzero(value == 0.0)
        return Mass(n, _rows(n, full, full, value[full]), _rows(n, none, none, np.ones(none.size)), none.size)
    row, column = np.nonzero(value)
    places: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    nullity = 0
    for rows, columns in _blocks(value, row, column):
        basis = _left_null(value[np.ix_(rows, columns)])
        if basis.shape[1]:
            nullity += basis.shape[1]
            i, j = np.meshgrid(rows, rows, indexing="ij")
            places.append((i.ravel(), j.ravel(), (basis @ basis.T).ravel()))
    i, j, v = (np.concatenate(part) for part in zip(*places, strict=True)) if places else (row[:0], row[:0], row[:0])
    kept = np.abs(v) > 1e-14
    return Mass(n, _rows(n, row, column, value[row, column]), _rows(n, i[kept], j[kept], v[kept]), nullity)


def _blocks(value: np.ndarray, row: np.ndarray, column: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of each block; a row of zeros is one without columns."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(value)
    graph = coo_matrix((np.ones(len(row)), (row, n + column)), shape=(2 * n, 2 * n))
    label = connected_components(graph, directed=False)[1]
    by_row, by_column = np.argsort(label[:n], kind="stable"), np.argsort(label[n:], kind="stable")
    names = np.unique(label[:n])
    ends = [np.searchsorted(label[:n][by_row], [k, k + 1]) for k in names]
    others = [np.searchsorted(label[n:][by_column], [k, k + 1]) for k in names]
    return [(by_row[a:b], by_column[c:d]) for (a, b), (c, d) in zip(ends, others, strict=True)]


def _left_null(block: np.ndarray) -> np.ndarray:
    """Orthonormal basis (rows, nullity) of the w with w block = 0."""
    rows, columns = block.shape
    if columns == 0:
        return np.eye(rows)
    scale = 1.0 / np.abs(block).max(axis=1, keepdims=True)
    scaled = block * scale
    scaled = scaled / np.abs(scaled).max(axis=0)
    if rows == columns and rows > LARGE and regular(scaled):
        return np.empty((rows, 0))
    u, s, _ = np.linalg.svd(scaled)
    rank = int(np.count_nonzero(s > RANK * s[0]))
    return np.linalg.qr(scale * u[:, rank:])[0]


def regular(matrix: np.ndarray) -> bool:
    """Whether a square matrix is far from singular, by LAPACK's estimate of its condition (dgecon)."""
    from scipy.linalg import lapack

    if not np.isfinite(matrix).all():
        return False
    lu, _, info = lapack.dgetrf(matrix)
    return info == 0 and lapack.dgecon(lu, float(np.abs(matrix).sum(axis=0).max()))[0] > RANK


def pattern_with(pattern: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Where S and shift M - J may be non-zero, (n, n) bool, for a Jacobian with `pattern`."""
    mass = analysed(value)
    out = pattern | (mass.matrix.dense() != 0.0) | np.eye(mass.n, dtype=bool)
    if mass.singular and not mass.diagonal:
        from scipy.sparse import csr_matrix

        null = csr_matrix((np.ones(len(mass.null.column)), mass.null.column, mass.null.ptr), shape=(mass.n, mass.n))
        out |= (null @ csr_matrix(pattern, dtype=np.float64)).toarray() != 0.0
    return out
