"""LU factorisation of dense matrices in vectors that are written out: `lu` and `lu_solve`, for a generated kernel.

A matrix lies column by column in the 1-D float64 array `block`, from the place `m` on, `leading(n)` numbers a column: n
rows, and rows of zeros up to `height(n)`, a multiple of `PANEL`.  Its column n is a right-hand side.  A complex matrix
has its imaginary parts `plane` numbers behind the real ones.

LU with partial pivoting by panels of `PANEL` columns (right-looking; J. J. Dongarra, I. S. Duff, D. C. Sorensen, H. A.
van der Vorst, Numerical Linear Algebra for High-Performance Computers, SIAM 1998, chapter 5).  Columns of a panel are
taken one after another, then its exchanges of rows are made in the columns to the right, and these are updated in tiles
that stay in registers.  In columns to the left rows stay where they were, and back-substitution exchanges panel by
panel.  On the diagonal stand the reciprocals of the pivots.  Complex pivots are chosen by |re| + |im|.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .column_code import (
    F64,
    I1,
    I64,
    INDICES,
    LANES,
    PANEL,
    ROWS,
    TOP,
    VECTOR,
    WIDE,
    ZERO,
    Code,
    Planes,
    function,
    whole,
)

#: (vectors, columns) that are updated in registers, of a real and of a complex matrix
TILES = {False: (2, 8 if WIDE else 4), True: (2 if WIDE else 1, 4)}


def height(n: int) -> int:
    """Rows of a column that are worked on: n, and those of zeros."""
    return -(-n // PANEL) * PANEL


def leading(n: int) -> int:
    """Numbers from a column to the next; no power of two, whose columns would be in each other's way in the cache."""
    return height(n) + (PANEL if height(n) % 64 == 0 else 0)


def _called(e: Code, name: str, write: Callable[..., Any], result: Any, *args: Any) -> Any:
    """Call a function of the same module, which `write(code, *args)` writes where it is not there yet."""
    pair, module = e.plane is not None, e.builder.module
    name = f"stepsmith_{name}_{'complex' if pair else 'real'}_{e.ld}"
    fn = module.globals.get(name)
    if fn is None:
        kinds = [e.data.type, I64, *([I64] * len(args))]
        fn = ir.Function(module, ir.FunctionType(result, kinds), name)
        fn.linkage = "internal"
        fn.attributes.add("noinline")
        fn.attributes.add("nounwind")
        builder = ir.IRBuilder(fn.append_basic_block("entry"))
        data, plane, *own = fn.args
        value = write(Code(builder, data, plane if pair else None, e.ld), *own)
        builder.ret_void() if value is None else builder.ret(value)
    return e.builder.call(fn, [e.data, e.plane if pair else whole(0), *(whole(a) for a in args)])


def _subtract(e: Code, c: Any, m: Any, u: Any, vectors: Any, rank: Any, columns: int) -> None:
    """c -= m u: at c `columns` columns of `vectors` vectors, at m `rank` columns of as many, at u `rank` rows."""
    tall = TILES[e.plane is not None][0]

    def write(e: Code, c: Any, m: Any, u: Any, vectors: Any, rank: Any) -> None:
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

        count = e.builder.sdiv(vectors, whole(tall))
        with e.loop(count) as (i, _, _):
            tile(e.times(i, tall), tall)
        done = e.times(count, tall)
        with e.loop(e.builder.sub(vectors, done)) as (i, _, _):
            tile(e.at(done, i), 1)

    _called(e, f"subtract_{columns}", write, ir.VoidType(), c, m, u, vectors, rank)


def _lower(e: Code, t: Any, x: Any, steps: Any, columns: int) -> None:
    """Columns at x: the solutions of a unit lower triangle at t, of which the first `steps` columns are there; what the
    triangle lacks is taken for 0."""

    def write(e: Code, t: Any, x: Any, steps: Any) -> None:
        b = e.builder
        places = [e.column(x, j) for j in range(columns)]
        xs = [e.top(p) for p in places]
        done, ways = b.append_basic_block("done"), []
        for r in range(PANEL - 1):
            ways.append((b.block, xs))
            on = b.append_basic_block("step")
            b.cbranch(b.icmp_signed("<=", steps, whole(r)), done, on)
            b.position_at_end(on)
            column = e.top(e.column(t, r))
            xs = [e.eliminate(v, column, e.element(v, r), lambda i, r=r: i > r) for v in xs]  # type: ignore[misc]
        ways.append((b.block, xs))
        b.branch(done)
        b.position_at_end(done)
        xs = [[[b.phi(VECTOR) for _ in planes] for planes in vectors] for vectors in xs]
        for block, values in ways:
            for phi, value in zip(_flat(xs), _flat(values), strict=True):
                phi.add_incoming(value, block)
        for v, place in zip(xs, places, strict=True):
            e.put_top(v, place)

    _called(e, f"lower_{columns}", write, ir.VoidType(), t, x, steps)


def _flat(columns: list[list[Planes]]) -> list[Any]:
    return [x for vectors in columns for planes in vectors for x in planes]


def _upper(e: Code, t: Any, x: Any, steps: int) -> None:
    """The column at x: the solution of the upper triangle of `steps` rows at t."""

    def write(e: Code, t: Any, x: Any) -> None:
        v = e.top(x)
        for r in range(steps - 1, -1, -1):
            column = e.top(e.column(t, r))
            b = e.product(e.element(v, r), e.element(column, r))
            v = e.eliminate(v, column, b, lambda i, r=r: i < r)  # type: ignore[misc]
            v[r // LANES] = e.where(lambda i, r=r: i == r, r // LANES, b, v[r // LANES])  # type: ignore[misc]
        e.put_top(v, x)

    _called(e, f"upper_{steps}", write, ir.VoidType(), t, x)


def _largest(e: Code, c: Any, j: Any, vectors: Any) -> tuple[Any, Any]:
    """(largest magnitude in the rows from j < PANEL on of the column at c, the first row that has it); NaN where one is
    not finite."""
    b, many = e.builder, e.same(j)

    def seen(place: Any, rows: Any, state: list[Any], behind: bool) -> list[Any]:
        """behind: rows before j may be among them, and do not count."""
        most, where, bad = state
        size = e.magnitude(e.load(place))
        if behind:
            size = b.select(b.icmp_signed(">=", rows, many), size, ZERO)
        more = b.fcmp_ordered(">", size, most)
        return [b.select(more, size, most), b.select(more, rows, where), b.fadd(bad, b.fmul(size, ZERO))]

    state = [ZERO, ROWS, ZERO]
    for v in range(TOP):
        numbers = b.add(ROWS, ir.Constant(INDICES, [v * LANES] * LANES))
        state = seen(e.at(c, v * LANES), numbers, state, True)
    with e.loop(b.sub(vectors, whole(TOP)), state) as (i, held, following):
        row = e.at(e.times(i, LANES), PANEL)
        following += seen(e.at(c, row), b.add(ROWS, e.same(row)), held, False)
    most, where, bad = held
    reduce = f"llvm.vector.reduce.%s.v{LANES}%s"
    top = b.call(function(b, reduce % ("fmax", "f64"), F64, [VECTOR]), [most], fastmath=("nnan", "nsz"))
    where = b.select(b.fcmp_ordered("==", most, e.same(top)), where, ir.Constant(INDICES, [2**62] * LANES))
    row = b.call(function(b, reduce % ("umin", "i64"), I64, [INDICES]), [where])
    add = function(b, reduce % ("fadd", "f64"), F64, [F64, VECTOR])
    return b.fadd(top, b.call(add, [ir.Constant(F64, 0.0), bad], fastmath=("reassoc",))), row


def _scale(e: Code, c: Any, j: Any, vectors: Any, by: Planes) -> None:
    """The rows behind j < PANEL of the column at c, times `by`."""
    b, many, factor = e.builder, e.same(j), [e.same(x) for x in by]
    for v in range(TOP):
        x, place = e.load(e.at(c, v * LANES)), e.at(c, v * LANES)
        inside = b.icmp_signed(">", b.add(ROWS, ir.Constant(INDICES, [v * LANES] * LANES)), many)
        e.store([b.select(inside, *pair) for pair in zip(e.product(x, factor), x, strict=True)], place)
    with e.loop(b.sub(vectors, whole(TOP))) as (i, _, _):
        place = e.at(c, e.times(i, LANES), PANEL)
        e.store(e.product(e.load(place), factor), place)


def _factor(e: Code, n: int, m: Any, pivots: Any, step: Any) -> Any:
    """The factors in the matrix's place; 1 where they came off."""
    b, width = e.builder, TILES[e.plane is not None][1]
    fail = b.append_basic_block("fail")
    with e.loop(-(-n // PANEL)) as (panel, _, _):
        k = e.times(panel, PANEL)
        t, rest = e.column(m, k, k), b.sub(whole(n), k)
        here = b.select(b.icmp_signed("<", rest, whole(PANEL)), rest, whole(PANEL))
        vectors = b.sdiv(b.sub(whole(height(n)), k), whole(LANES))
        below = b.sub(vectors, whole(TOP))
        with e.loop(here) as (j, _, _):
            c = e.column(t, j)
            _lower(e, t, c, j, 1)
            _subtract(e, e.at(c, PANEL), e.at(t, PANEL), c, below, j, 1)
            top, p = _largest(e, c, j, vectors)
            good = b.append_basic_block("good")
            b.cbranch(b.fcmp_ordered(">", top, ir.Constant(F64, 0.0)), good, fail)
            b.position_at_end(good)
            b.store(b.sitofp(p, F64), b.gep(e.data, [e.at(pivots, e.times(e.at(k, j), step))]))
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

        right = b.sub(rest, whole(PANEL))
        with e.loop(b.sdiv(right, whole(width))) as (g, _, _):
            update(e.at(k, PANEL, e.times(g, width)), width)
        if n % width:
            with b.if_then(b.icmp_signed(">", right, whole(0))):
                update(n - n % width, n % width)
    ready = b.append_basic_block("ready")
    b.branch(ready)
    before = b.block
    b.position_at_end(fail)
    b.branch(ready)
    b.position_at_end(ready)
    good = b.phi(I1)
    good.add_incoming(ir.Constant(I1, 1), before)
    good.add_incoming(ir.Constant(I1, 0), fail)
    return good


def _pivot(e: Code, pivots: Any, offset: Any) -> Any:
    return e.builder.fptosi(e.builder.load(e.builder.gep(e.data, [e.at(pivots, offset)])), I64)


def _solve(e: Code, n: int, m: Any, pivots: Any, step: Any) -> None:
    """The solution in the right-hand side's place."""
    b, full, last = e.builder, n // PANEL, n % PANEL
    x = e.column(m, n)

    def forth(k: Any, rows: int) -> None:
        t, here = e.column(m, k, k), e.at(x, k)
        with e.loop(rows) as (r, _, _):
            e.exchange(here, r, _pivot(e, pivots, e.times(e.at(whole(k), r), step)))
        _lower(e, t, here, rows, 1)
        vectors = b.sdiv(b.sub(whole(height(n) - PANEL), whole(k)), whole(LANES))
        _subtract(e, e.at(here, PANEL), e.at(t, PANEL), here, vectors, rows, 1)

    def back(k: Any, rows: int) -> None:
        here = e.at(x, k)
        _upper(e, e.column(m, k, k), here, rows)
        _subtract(e, x, e.column(m, k), here, b.sdiv(whole(k), whole(LANES)), rows, 1)

    with e.loop(full) as (i, _, _):
        forth(e.times(i, PANEL), PANEL)
    if last:
        forth(n - last, last)
        back(n - last, last)
    with e.loop(full) as (i, _, _):
        back(e.times(b.sub(whole(full - 1), i), PANEL), PANEL)


def _entry(name: str, write: Callable[..., Any], result: Any, returns: Any, args: tuple) -> tuple[Any, Any]:
    block, _, _, _, n, plane = args
    if not (isinstance(n, types.IntegerLiteral) and isinstance(plane, types.IntegerLiteral)):
        raise numba.TypingError("lu: n and plane must be compile-time constants")
    size, pair = n.literal_value, plane.literal_value != 0

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0]).data
        places = [context.cast(builder, a, t, types.intp) for a, t in zip(args[1:4], sig.args[1:4], strict=True)]
        e = Code(builder, data, whole(plane.literal_value) if pair else None, leading(size))
        value = _called(e, f"{name}_{size}", lambda code, *own: write(code, size, *own), result, *places)
        return context.get_dummy_value() if returns is types.void else value

    return returns(*args), codegen


@intrinsic(prefer_literal=True)
def lu(typingctx, block, m, pivots, step, n, plane):
    """Factor the (n, n) matrix at `m`; True where that came off, False where a pivot is 0 or not finite.

    Pivot k goes to `block[pivots + k*step]`.  n and plane are literal ints; plane 0: a real matrix.
    """
    return _entry("lu", _factor, I1, types.boolean, (block, m, pivots, step, n, plane))


@intrinsic(prefer_literal=True)
def lu_solve(typingctx, block, m, pivots, step, n, plane):
    """Replace column n behind the factors of `lu` by the solution for it; its rows from n on must be 0."""
    return _entry("lu_solve", _solve, ir.VoidType(), types.void, (block, m, pivots, step, n, plane))
