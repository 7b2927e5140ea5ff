"""LU factorisation of dense matrices in LLVM's vector types: `lu` and `lu_solve`, for a generated kernel.

Numba's loops over one array become vector instructions where the compiler can prove that no index is negative and no
two columns overlap, and in a large kernel it cannot.  Here the vectors are written out, and the code is the same
wherever it is called from.

A matrix lies column by column in the 1-D float64 array `block`, from the place `m` on, `leading(n)` numbers a column: n
rows, and rows of zeros up to a multiple of `PANEL`.  Its column n is a right-hand side.  A complex matrix has its
imaginary parts `plane` numbers behind the real ones.

LU with partial pivoting by panels of `PANEL` columns (right-looking; J. J. Dongarra, I. S. Duff, D. C. Sorensen, H. A.
van der Vorst, Numerical Linear Algebra for High-Performance Computers, SIAM 1998, section 5.4).  Columns of a panel are
taken one after another, then its exchanges of rows are made in the columns to the right, and these are updated in tiles
that stay in registers.  In columns to the left rows stay where they were, and back-substitution exchanges panel by
panel.  On the diagonal stand the reciprocals of the pivots.  Complex pivots are chosen by |re| + |im|.

Multiplications and subtractions contract where the processor can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: columns of a panel, and rows of the triangles on the diagonal
PANEL = 8
_WIDE = bool(llvm.get_host_cpu_features().get("avx512f", False))
#: rows of a vector
LANES = 8 if _WIDE else 4
#: vectors that a triangle's rows take
_TOP = PANEL // LANES
#: (vectors, columns) that are updated in registers, of a real and of a complex matrix
TILES = {False: (2, 8 if _WIDE else 4), True: (2 if _WIDE else 1, 4)}

_I32, _I64, _F64, _I1 = ir.IntType(32), ir.IntType(64), ir.DoubleType(), ir.IntType(1)
_VECTOR, _INDICES = ir.VectorType(_F64, LANES), ir.VectorType(_I64, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)
_ROWS = ir.Constant(_INDICES, list(range(LANES)))
_FAST = ("contract",)
#: a number, or a vector of them, of each plane: one of a real and two of a complex matrix
Planes = list[Any]


def leading(n: int) -> int:
    """Numbers that a column of n rows takes."""
    return -(-n // PANEL) * PANEL


class _Code:
    """Instructions on one matrix.  `plane`: None where it is real."""

    def __init__(self, builder: Any, data: Any, plane: Any, ld: int) -> None:
        self.builder, self.data, self.plane, self.ld = builder, data, plane, ld

    def at(self, place: Any, *more: Any) -> Any:
        """The sum of places, whole numbers of Python's among them."""
        for x in more:
            if not (isinstance(x, int) and x == 0):
                place = self.builder.add(place, _int(x))
        return place

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.mul(_int(a), _int(b))

    def column(self, place: Any, j: Any, row: Any = 0) -> Any:
        """Row `row` of the j-th column behind the one at `place`."""
        return self.at(place, j * self.ld if isinstance(j, int) else self.times(j, self.ld), row)

    def _pointers(self, place: Any, kind: Any) -> list[Any]:
        places = [place] if self.plane is None else [place, self.at(place, self.plane)]
        out = [self.builder.gep(self.data, [p]) for p in places]
        return out if kind is _F64 else [self.builder.bitcast(p, kind.as_pointer()) for p in out]

    def load(self, place: Any, kind: Any = _VECTOR) -> Planes:
        loads = [self.builder.load(p) for p in self._pointers(place, kind)]
        for x in loads:
            x.align = 8
        return loads

    def store(self, values: Planes, place: Any) -> None:
        for value, p in zip(values, self._pointers(place, values[0].type), strict=True):
            self.builder.store(value, p).align = 8

    def number(self, place: Any) -> Planes:
        return self.load(place, _F64)

    def pick(self, vector: Any, row: int) -> Any:
        """Element `row` of a vector in all its rows."""
        mask = ir.Constant(ir.VectorType(_I32, LANES), [row] * LANES)
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def same(self, value: Any) -> Any:
        """A scalar in all rows of a vector."""
        kind = _VECTOR if value.type == _F64 else _INDICES
        empty = ir.Constant(kind, ir.Undefined)
        return self.pick(self.builder.insert_element(empty, value, ir.Constant(_I32, 0)), 0)

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
        fabs = _function(self.builder, f"llvm.fabs.v{LANES}f64", _VECTOR, [_VECTOR])
        sizes = [self.builder.call(fabs, [v]) for v in a]
        return sizes[0] if len(sizes) == 1 else self.builder.fadd(*sizes)

    def reciprocal(self, a: Planes) -> Planes:
        x, one = self.builder, ir.Constant(_F64, 1.0)
        if self.plane is None:
            return [x.fdiv(one, a[0])]
        size = x.fadd(x.fmul(a[0], a[0], flags=_FAST), x.fmul(a[1], a[1], flags=_FAST), flags=_FAST)
        q = x.fdiv(one, size)
        return [x.fmul(a[0], q), x.fmul(x.fneg(a[1]), q)]

    @contextmanager
    def loop(self, count: Any, carried: Sequence[Any] = ()) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """`for i in range(count)`: gives i, the values carried along (the last ones when the loop is done), and a list
        to put their next values into."""
        b, count = self.builder, _int(count)
        before, head = b.block, b.append_basic_block("head")
        body, behind = b.append_basic_block("body"), b.append_basic_block("behind")
        b.branch(head)
        b.position_at_end(head)
        i, held = b.phi(_I64), [b.phi(v.type) for v in carried]
        following: list[Any] = []
        b.cbranch(b.icmp_signed("<", i, count), body, behind)
        b.position_at_end(body)
        yield i, held, following
        for phi, first, next_ in zip([i, *held], [_int(0), *carried], [b.add(i, _int(1)), *following], strict=True):
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

    # the rows of a triangle: PANEL of them in _TOP vectors

    def top(self, place: Any) -> list[Planes]:
        return [self.load(self.at(place, v * LANES)) for v in range(_TOP)]

    def put_top(self, x: list[Planes], place: Any) -> None:
        for v, values in enumerate(x):
            self.store(values, self.at(place, v * LANES))

    def where(self, rows: Callable[[int], bool], v: int, a: Planes, b: Planes) -> Planes:
        """a in some rows of the v-th vector, b in the others."""
        mask = ir.Constant(ir.VectorType(_I1, LANES), [int(rows(v * LANES + i)) for i in range(LANES)])
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


def _int(value: Any) -> Any:
    return ir.Constant(_I64, value) if isinstance(value, int) else value


def _function(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, args), name)


def _called(e: _Code, name: str, write: Callable[..., Any], result: Any, *args: Any) -> Any:
    """Call a function of the same module, which `write(code, *args)` writes where it is not there yet."""
    pair, module = e.plane is not None, e.builder.module
    name = f"stepsmith_{name}_{'complex' if pair else 'real'}_{e.ld}"
    fn = module.globals.get(name)
    if fn is None:
        kinds = [e.data.type, _I64, *([_I64] * len(args))]
        fn = ir.Function(module, ir.FunctionType(result, kinds), name)
        fn.linkage = "internal"
        fn.attributes.add("noinline")
        fn.attributes.add("nounwind")
        builder = ir.IRBuilder(fn.append_basic_block("entry"))
        data, plane, *own = fn.args
        value = write(_Code(builder, data, plane if pair else None, e.ld), *own)
        builder.ret_void() if value is None else builder.ret(value)
    return e.builder.call(fn, [e.data, e.plane if pair else _int(0), *(_int(a) for a in args)])


def _subtract(e: _Code, c: Any, m: Any, u: Any, vectors: Any, rank: Any, columns: int) -> None:
    """c -= m u: at c `columns` columns of `vectors` vectors, at m `rank` columns of as many, at u `rank` rows."""
    tall = TILES[e.plane is not None][0]

    def write(e: _Code, c: Any, m: Any, u: Any, vectors: Any, rank: Any) -> None:
        def tile(first: Any, high: int) -> None:
            row = e.times(first, LANES)
            places = [e.column(c, j, e.at(row, i * LANES)) for j in range(columns) for i in range(high)]
            values = [x for place in places for x in e.load(place)]
            size = len(values) // len(places)
            with e.loop(rank, values) as (r, held, following):
                left = [e.load(e.column(m, r, e.at(row, i * LANES))) for i in range(high)]
                for j in range(columns):
                    b = [e.same(x) for x in e.number(e.column(u, j, r))]
                    for i in range(high):
                        k = (j * high + i) * size
                        following += e.less(held[k : k + size], left[i], b)
            for k, place in enumerate(places):
                e.store(held[k * size : (k + 1) * size], place)

        whole = e.builder.sdiv(vectors, _int(tall))
        with e.loop(whole) as (i, _, _):
            tile(e.times(i, tall), tall)
        done = e.times(whole, tall)
        with e.loop(e.builder.sub(vectors, done)) as (i, _, _):
            tile(e.at(done, i), 1)

    _called(e, f"subtract_{columns}", write, ir.VoidType(), c, m, u, vectors, rank)


def _lower(e: _Code, t: Any, x: Any, steps: Any, columns: int) -> None:
    """Columns at x: the solutions of a unit lower triangle at t, of which the first `steps` columns are there; what the
    triangle lacks is taken for 0."""

    def write(e: _Code, t: Any, x: Any, steps: Any) -> None:
        b = e.builder
        places = [e.column(x, j) for j in range(columns)]
        xs = [e.top(p) for p in places]
        done, ways = b.append_basic_block("done"), []
        for r in range(PANEL - 1):
            ways.append((b.block, xs))
            on = b.append_basic_block("step")
            b.cbranch(b.icmp_signed("<=", steps, _int(r)), done, on)
            b.position_at_end(on)
            column = e.top(e.column(t, r))
            xs = [e.eliminate(v, column, e.element(v, r), lambda i, r=r: i > r) for v in xs]  # type: ignore[misc]
        ways.append((b.block, xs))
        b.branch(done)
        b.position_at_end(done)
        xs = [[[b.phi(_VECTOR) for _ in planes] for planes in vectors] for vectors in xs]
        for block, values in ways:
            for phi, value in zip(_flat(xs), _flat(values), strict=True):
                phi.add_incoming(value, block)
        for v, place in zip(xs, places, strict=True):
            e.put_top(v, place)

    _called(e, f"lower_{columns}", write, ir.VoidType(), t, x, steps)


def _flat(columns: list[list[Planes]]) -> list[Any]:
    return [x for vectors in columns for planes in vectors for x in planes]


def _upper(e: _Code, t: Any, x: Any, steps: int) -> None:
    """The column at x: the solution of the upper triangle of `steps` rows at t."""

    def write(e: _Code, t: Any, x: Any) -> None:
        v = e.top(x)
        for r in range(steps - 1, -1, -1):
            column = e.top(e.column(t, r))
            b = e.product(e.element(v, r), e.element(column, r))
            v = e.eliminate(v, column, b, lambda i, r=r: i < r)  # type: ignore[misc]
            v[r // LANES] = e.where(lambda i, r=r: i == r, r // LANES, b, v[r // LANES])  # type: ignore[misc]
        e.put_top(v, x)

    _called(e, f"upper_{steps}", write, ir.VoidType(), t, x)


def _largest(e: _Code, c: Any, j: Any, vectors: Any) -> tuple[Any, Any]:
    """(largest magnitude in the rows from j < PANEL on of the column at c, the first row that has it); NaN where one is
    not finite."""
    b, many = e.builder, e.same(j)

    def seen(place: Any, rows: Any, most: Any, where: Any, bad: Any, first: bool = False) -> list[Any]:
        size = e.magnitude(e.load(place))
        if first:
            size = b.select(b.icmp_signed(">=", rows, many), size, _ZERO)
        more = b.fcmp_ordered(">", size, most)
        return [b.select(more, size, most), b.select(more, rows, where), b.fadd(bad, b.fmul(size, _ZERO))]

    state = [_ZERO, _ROWS, _ZERO]
    for v in range(_TOP):
        rows = b.add(_ROWS, ir.Constant(_INDICES, [v * LANES] * LANES))
        state = seen(e.at(c, v * LANES), rows, *state, first=True)
    with e.loop(b.sub(vectors, _int(_TOP)), state) as (i, held, following):
        row = e.at(e.times(i, LANES), PANEL)
        following += seen(e.at(c, row), b.add(_ROWS, e.same(row)), *held)
    most, where, bad = held
    reduce = f"llvm.vector.reduce.%s.v{LANES}%s"
    top = b.call(_function(b, reduce % ("fmax", "f64"), _F64, [_VECTOR]), [most], fastmath=("nnan", "nsz"))
    where = b.select(b.fcmp_ordered("==", most, e.same(top)), where, ir.Constant(_INDICES, [2**62] * LANES))
    row = b.call(_function(b, reduce % ("umin", "i64"), _I64, [_INDICES]), [where])
    add = _function(b, reduce % ("fadd", "f64"), _F64, [_F64, _VECTOR])
    return b.fadd(top, b.call(add, [ir.Constant(_F64, 0.0), bad], fastmath=("reassoc",))), row


def _scale(e: _Code, c: Any, j: Any, vectors: Any, by: Planes) -> None:
    """The rows behind j < PANEL of the column at c, times `by`."""
    b, many, factor = e.builder, e.same(j), [e.same(x) for x in by]
    for v in range(_TOP):
        x, place = e.load(e.at(c, v * LANES)), e.at(c, v * LANES)
        inside = b.icmp_signed(">", b.add(_ROWS, ir.Constant(_INDICES, [v * LANES] * LANES)), many)
        e.store([b.select(inside, *pair) for pair in zip(e.product(x, factor), x, strict=True)], place)
    with e.loop(b.sub(vectors, _int(_TOP))) as (i, _, _):
        place = e.at(c, e.times(i, LANES), PANEL)
        e.store(e.product(e.load(place), factor), place)


def _factor(e: _Code, n: int, m: Any, pivots: Any, step: Any) -> Any:
    """The factors in the matrix's place; 1 where they came off."""
    b, width = e.builder, TILES[e.plane is not None][1]
    fail = b.append_basic_block("fail")
    with e.loop(-(-n // PANEL)) as (panel, _, _):
        k = e.times(panel, PANEL)
        t, rest = e.column(m, k, k), b.sub(_int(n), k)
        here = b.select(b.icmp_signed("<", rest, _int(PANEL)), rest, _int(PANEL))
        vectors = b.sdiv(b.sub(_int(e.ld), k), _int(LANES))
        below = b.sub(vectors, _int(_TOP))
        with e.loop(here) as (j, _, _):
            c = e.column(t, j)
            _lower(e, t, c, j, 1)
            _subtract(e, e.at(c, PANEL), e.at(t, PANEL), c, below, j, 1)
            top, p = _largest(e, c, j, vectors)
            good = b.append_basic_block("good")
            b.cbranch(b.fcmp_ordered(">", top, ir.Constant(_F64, 0.0)), good, fail)
            b.position_at_end(good)
            b.store(b.sitofp(p, _F64), b.gep(e.data, [e.at(pivots, e.times(e.at(k, j), step))]))
            with e.loop(here) as (q, _, _):
                e.exchange(e.column(t, q), j, p)
            pivot = e.reciprocal(e.number(e.at(c, j)))
            _scale(e, c, j, vectors, pivot)
            e.store(pivot, e.at(c, j))

        def update(first: Any, columns: int) -> None:
            place = e.column(m, first, k)  # noqa: B023 (called in the same round)
            with e.loop(PANEL) as (r, _, _):
                p = _pivot(e, pivots, e.times(e.at(k, r), step))  # noqa: B023
                for j in range(columns):
                    e.exchange(e.column(place, j), r, p)
            _lower(e, t, place, PANEL, columns)  # noqa: B023
            _subtract(e, e.at(place, PANEL), e.at(t, PANEL), place, below, PANEL, columns)  # noqa: B023

        right = b.sub(rest, _int(PANEL))
        with e.loop(b.sdiv(right, _int(width))) as (g, _, _):
            update(e.at(k, PANEL, e.times(g, width)), width)
        if n % width:
            with b.if_then(b.icmp_signed(">", right, _int(0))):
                update(n - n % width, n % width)
    ready = b.append_basic_block("ready")
    b.branch(ready)
    before = b.block
    b.position_at_end(fail)
    b.branch(ready)
    b.position_at_end(ready)
    good = b.phi(_I1)
    good.add_incoming(ir.Constant(_I1, 1), before)
    good.add_incoming(ir.Constant(_I1, 0), fail)
    return good


def _pivot(e: _Code, pivots: Any, offset: Any) -> Any:
    return e.builder.fptosi(e.builder.load(e.builder.gep(e.data, [e.at(pivots, offset)])), _I64)


def _solve(e: _Code, n: int, m: Any, pivots: Any, step: Any) -> None:
    """The solution in the right-hand side's place."""
    b, whole, last = e.builder, n // PANEL, n % PANEL
    x = e.column(m, n)

    def forth(k: Any, rows: int) -> None:
        t, here = e.column(m, k, k), e.at(x, k)
        with e.loop(rows) as (r, _, _):
            e.exchange(here, r, _pivot(e, pivots, e.times(e.at(_int(k), r), step)))
        _lower(e, t, here, rows, 1)
        vectors = b.sdiv(b.sub(_int(e.ld - PANEL), _int(k)), _int(LANES))
        _subtract(e, e.at(here, PANEL), e.at(t, PANEL), here, vectors, rows, 1)

    def back(k: Any, rows: int) -> None:
        here = e.at(x, k)
        _upper(e, e.column(m, k, k), here, rows)
        _subtract(e, x, e.column(m, k), here, b.sdiv(_int(k), _int(LANES)), rows, 1)

    with e.loop(whole) as (i, _, _):
        forth(e.times(i, PANEL), PANEL)
    if last:
        forth(n - last, last)
        back(n - last, last)
    with e.loop(whole) as (i, _, _):
        back(e.times(b.sub(_int(whole - 1), i), PANEL), PANEL)


def _entry(name: str, write: Callable[..., Any], result: Any, returns: Any, args: tuple) -> tuple[Any, Any]:
    block, _, _, _, n, plane = args
    if not (isinstance(n, types.IntegerLiteral) and isinstance(plane, types.IntegerLiteral)):
        raise numba.TypingError("lu: n and plane must be compile-time constants")
    size, pair = n.literal_value, plane.literal_value != 0

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0]).data
        places = [context.cast(builder, a, t, types.intp) for a, t in zip(args[1:4], sig.args[1:4], strict=True)]
        e = _Code(builder, data, _int(plane.literal_value) if pair else None, leading(size))
        value = _called(e, f"{name}_{size}", lambda code, *own: write(code, size, *own), result, *places)
        return context.get_dummy_value() if returns is types.void else value

    return returns(*args), codegen


@intrinsic(prefer_literal=True)
def lu(typingctx, block, m, pivots, step, n, plane):
    """Factor the (n, n) matrix at `m`; True where that came off, False where a pivot is 0 or not finite.

    Pivot k goes to `block[pivots + k*step]`.  n and plane are literal ints; plane 0: a real matrix.
    """
    return _entry("lu", _factor, _I1, types.boolean, (block, m, pivots, step, n, plane))


@intrinsic(prefer_literal=True)
def lu_solve(typingctx, block, m, pivots, step, n, plane):
    """Replace column n behind the factors of `lu` by the solution for it; its rows from n on must be 0."""
    return _entry("lu_solve", _solve, ir.VoidType(), types.void, (block, m, pivots, step, n, plane))
