"""Instructions of LLVM on the columns of a matrix, real or complex, in vectors of rows that are written out.

Numba's loops over one array become vector instructions where the compiler can prove that no index is negative and no
two columns overlap, and in a large kernel it cannot.  What `Code` writes is the same wherever it stands.

Places are indices of a float64 array.  A complex matrix has its imaginary parts `plane` numbers behind the real ones.
Multiplications and subtractions contract where the processor can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

#: whether vectors have 512 bits
WIDE = bool(llvm.get_host_cpu_features().get("avx512f", False))
#: rows of a vector
LANES = 8 if WIDE else 4
#: rows of a triangle on the diagonal, and the vectors that they take
PANEL = 8
TOP = PANEL // LANES

I1, I32, I64, F64 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.DoubleType()
VECTOR, INDICES = ir.VectorType(F64, LANES), ir.VectorType(I64, LANES)
ZERO = ir.Constant(VECTOR, [0.0] * LANES)
#: numbers of the rows of a vector
ROWS = ir.Constant(INDICES, list(range(LANES)))
_FAST = ("contract",)
#: a number, or a vector of them, of each plane: one of a real and two of a complex matrix
Planes = list[Any]


def whole(value: Any) -> Any:
    """A whole number of Python's as a constant."""
    return ir.Constant(I64, value) if isinstance(value, int) else value


def function(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    """One of LLVM's own functions."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, args), name)


class Code:
    """Instructions on one matrix, written by `builder`.

    data: pointer to the array; plane: None where the matrix is real; ld: numbers a column.
    """

    def __init__(self, builder: Any, data: Any, plane: Any, ld: int) -> None:
        self.builder, self.data, self.plane, self.ld = builder, data, plane, ld

    def at(self, place: Any, *more: Any) -> Any:
        """The sum of places, whole numbers of Python's among them."""
        for x in more:
            if not (isinstance(x, int) and x == 0):
                place = self.builder.add(place, whole(x))
        return place

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.mul(whole(a), whole(b))

    def column(self, place: Any, j: Any, row: Any = 0) -> Any:
        """Row `row` of the j-th column behind the one at `place`."""
        return self.at(place, j * self.ld if isinstance(j, int) else self.times(j, self.ld), row)

    def _pointers(self, place: Any, kind: Any) -> list[Any]:
        places = [place] if self.plane is None else [place, self.at(place, self.plane)]
        out = [self.builder.gep(self.data, [p]) for p in places]
        return out if kind is F64 else [self.builder.bitcast(p, kind.as_pointer()) for p in out]

    def load(self, place: Any, kind: Any = VECTOR) -> Planes:
        loads = [self.builder.load(p) for p in self._pointers(place, kind)]
        for x in loads:
            x.align = 8
        return loads

    def store(self, values: Planes, place: Any) -> None:
        for value, p in zip(values, self._pointers(place, values[0].type), strict=True):
            self.builder.store(value, p).align = 8

    def number(self, place: Any) -> Planes:
        return self.load(place, F64)

    def pick(self, vector: Any, row: int) -> Any:
        """Element `row` of a vector in all its rows."""
        mask = ir.Constant(ir.VectorType(I32, LANES), [row] * LANES)
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def same(self, value: Any) -> Any:
        """A scalar in all rows of a vector."""
        kind = VECTOR if value.type == F64 else INDICES
        empty = ir.Constant(kind, ir.Undefined)
        return self.pick(self.builder.insert_element(empty, value, ir.Constant(I32, 0)), 0)

    def product(self, a: Planes, b: Planes) -> Planes:
        x = self.builder
        out = [x.fmul(a[0], b[0], flags=_FAST)]
        if self.plane is None:
            return out
        im = x.fadd(x.fmul(a[0], b[1], flags=_FAST), x.fmul(a[1], b[0], flags=_FAST), flags=_FAST)
        return [x.fsub(out[0], x.fmul(a[1], b[1], flags=_FAST), flags=_FAST), im]

    def less(self, c: Planes, a: Planes, b: Planes) -> Planes:
        """c - a b."""
        x = self.builder
        out = [x.fsub(c[0], x.fmul(a[0], b[0], flags=_FAST), flags=_FAST)]
        if self.plane is None:
            return out
        im = x.fsub(c[1], x.fmul(a[0], b[1], flags=_FAST), flags=_FAST)
        out = [x.fadd(out[0], x.fmul(a[1], b[1], flags=_FAST), flags=_FAST)]
        return [*out, x.fsub(im, x.fmul(a[1], b[0], flags=_FAST), flags=_FAST)]

    def magnitude(self, a: Planes) -> Any:
        fabs = function(self.builder, f"llvm.fabs.v{LANES}f64", VECTOR, [VECTOR])
        sizes = [self.builder.call(fabs, [v]) for v in a]
        return sizes[0] if len(sizes) == 1 else self.builder.fadd(*sizes)

    def reciprocal(self, a: Planes) -> Planes:
        x, one = self.builder, ir.Constant(F64, 1.0)
        if self.plane is None:
            return [x.fdiv(one, a[0])]
        size = x.fadd(x.fmul(a[0], a[0], flags=_FAST), x.fmul(a[1], a[1], flags=_FAST), flags=_FAST)
        q = x.fdiv(one, size)
        return [x.fmul(a[0], q), x.fmul(x.fneg(a[1]), q)]

    @contextmanager
    def loop(self, count: Any, carried: Sequence[Any] = ()) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """`for i in range(count)`: gives i, the values carried along (the last ones when the loop is done), and a list
        to put their next values into."""
        b, count = self.builder, whole(count)
        before, head = b.block, b.append_basic_block("head")
        body, behind = b.append_basic_block("body"), b.append_basic_block("behind")
        b.branch(head)
        b.position_at_end(head)
        i, held = b.phi(I64), [b.phi(v.type) for v in carried]
        following: list[Any] = []
        b.cbranch(b.icmp_signed("<", i, count), body, behind)
        b.position_at_end(body)
        yield i, held, following
        for phi, first, next_ in zip([i, *held], [whole(0), *carried], [b.add(i, whole(1)), *following], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(next_, b.block)
        b.branch(head)
        b.position_at_end(behind)

    def exchange(self, place: Any, a: Any, b: Any) -> None:
        """Rows a and b of the column at `place`."""
        at_a, at_b = self.at(place, a), self.at(place, b)
        x, y = self.number(at_a), self.number(at_b)
        self.store(y, at_a)
        self.store(x, at_b)

    # the rows of a triangle: PANEL of them in TOP vectors

    def top(self, place: Any) -> list[Planes]:
        return [self.load(self.at(place, v * LANES)) for v in range(TOP)]

    def put_top(self, x: list[Planes], place: Any) -> None:
        for v, values in enumerate(x):
            self.store(values, self.at(place, v * LANES))

    def where(self, rows: Callable[[int], bool], v: int, a: Planes, b: Planes) -> Planes:
        """a in some rows of the v-th vector, b in the others."""
        mask = ir.Constant(ir.VectorType(I1, LANES), [int(rows(v * LANES + i)) for i in range(LANES)])
        return [self.builder.select(mask, *pair) for pair in zip(a, b, strict=True)]

    def element(self, x: list[Planes], r: int) -> Planes:
        return [self.pick(plane, r % LANES) for plane in x[r // LANES]]

    def eliminate(self, x: list[Planes], column: list[Planes], b: Planes, rows: Callable[[int], bool]) -> list[Planes]:
        """x - column b in some rows."""
        return [
            self.where(rows, v, self.less(values, column[v], b), values)
            if any(rows(v * LANES + i) for i in range(LANES))
            else values
            for v, values in enumerate(x)
        ]
