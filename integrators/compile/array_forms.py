"""Forms of NumPy's functions that people use in right-hand sides and Numba does not compile by itself.

    np.concatenate([a, b]), np.hstack([a, b]), np.vstack([a, b]), np.stack([a, b])
                                            lists of vectors, not only tuples
    np.column_stack([a, b])                 the same
    np.array([a, b]), np.array((a, b))      vectors as the rows of a matrix
    A @ x, np.dot(A, x), A.dot(x)           of different types of number: whole numbers, real, complex
    np.mean(a, axis=k)                      along one axis (the method a.mean(axis=k) stays Numba's own)
    np.roll(a, k, axis)                     of matrices

Numba looks here where its own functions refuse the types, so that nothing that it compiles by itself changes.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable
from numba.np import numpy_support


def _vectors(given: Any, tuples: bool = False) -> Any:
    """The type of the vectors in a list (or, with `tuples`, a tuple) of one-dimensional arrays; else None."""
    kinds = (types.List, types.UniTuple) if tuples else (types.List,)
    vector = given.dtype if isinstance(given, kinds) else None
    return vector if isinstance(vector, types.Array) and vector.ndim == 1 else None


def _joined(arrays: Any) -> Any:
    vector = _vectors(arrays)
    if vector is None:
        return None
    dtype = numpy_support.as_dtype(vector.dtype)

    def joined(arrays):
        size = 0
        for a in arrays:
            size += a.size
        out, at = np.empty(size, dtype), 0
        for a in arrays:
            for i in range(a.size):
                out[at + i] = a[i]
            at += a.size
        return out

    return joined


def _rows(arrays: Any, tuples: bool = False) -> Any:
    vector = _vectors(arrays, tuples)
    if vector is None:
        return None
    dtype = numpy_support.as_dtype(vector.dtype)

    def rows(arrays):
        out = np.empty((len(arrays), arrays[0].size), dtype)
        for i in range(len(arrays)):
            a = arrays[i]
            if a.size != arrays[0].size:
                raise ValueError("the rows of an array must have the same length")
            for j in range(a.size):
                out[i, j] = a[j]
        return out

    return rows


@overload(np.concatenate)
def _concatenate(arrays):
    return _joined(arrays)


@overload(np.hstack)
def _hstack(arrays):
    return _joined(arrays)


@overload(np.vstack)
def _vstack(arrays):
    return _rows(arrays)


@overload(np.stack)
def _stack(arrays):
    return _rows(arrays)


@overload(np.column_stack)
def _column_stack(arrays):
    rows = _rows(arrays)
    if rows is None:
        return None
    made = register_jitable(rows)

    def columns(arrays):
        return np.ascontiguousarray(made(arrays).T)

    return columns


@overload(np.array)
def _array(arrays):
    return _rows(arrays, tuples=True)


def _product(a: Any, b: Any) -> Any:
    """a @ b where their numbers are of different types: both become what NumPy would make of them."""
    if not isinstance(a, types.Array) or not isinstance(b, types.Array) or a.dtype == b.dtype:
        return None
    if not {a.ndim, b.ndim} <= {1, 2}:
        return None
    common = np.result_type(*(numpy_support.as_dtype(x.dtype) for x in (a, b)))
    if common.kind not in "fc":
        common = np.dtype(np.float64)

    def product(a, b):
        return np.dot(a.astype(common), b.astype(common))

    return product


@overload(operator.matmul)
def _matmul(a, b):
    return _product(a, b)


@overload(np.dot)
def _dot(a, b):
    return _product(a, b)


@overload(np.mean)
def _mean(a, axis):
    if not isinstance(a, types.Array) or not isinstance(axis, (types.Integer, types.Literal)):
        return None

    def mean(a, axis):
        return np.sum(a, axis) / a.shape[axis]

    return mean


@overload(np.roll)
def _roll(a, shift, axis):
    if not isinstance(a, types.Array) or a.ndim != 2:
        return None
    if not isinstance(shift, types.Integer) or not isinstance(axis, types.Integer):
        return None

    def roll(a, shift, axis):
        if axis < -2 or axis > 1:
            raise ValueError("np.roll: this axis does not exist")
        rows, columns = a.shape
        out = np.empty_like(a)
        along_rows = axis == 0 or axis == -2
        for i in range(rows):
            for j in range(columns):
                if along_rows:
                    out[(i + shift) % rows, j] = a[i, j]
                else:
                    out[i, (j + shift) % columns] = a[i, j]
        return out

    return roll
