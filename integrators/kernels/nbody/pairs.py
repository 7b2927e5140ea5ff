"""Source text of sums over pairs of bodies, for a block of lanes.

    a_i = sum_j G m_j d/r^3,   j_i = sum_j G m_j (u/r^3 - 3 (d.u) d/r^5),   d = x_j - x_i,   u = v_j - v_i

Each pair once, one square root and one division a pair.  AMUSE's time scale falls out of the same loop:
tau^-2 = max over pairs of {u^2/r^2, G (m_i + m_j)/r^3}, that is tau^4 = min {r^4/u^4, r^2/a_pair^2} with
a_pair = G (m_i + m_j)/r^2 (P. Hut & J. Makino's nbody_sh1, from which AMUSE's Hermite comes).

Few bodies: everything is written out in one lane loop, intermediate results in registers.  Many: loops over bodies
around lane loops, intermediate results in the block.  `Lanes` hides the difference, so that a method is written once.
What a lane does is compiled by `trace.traced`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

UNROLLED = 8  # up to this many bodies everything is written out


@dataclass(frozen=True)
class Place:
    """`offset` rows behind a component that a loop runs over; `name` is its element, lane included."""

    name: str
    offset: int = 0


Index = int | Place


def shifted(index: Index, by: int) -> Index:
    """`by` rows further."""
    return index + by if isinstance(index, int) else Place(index.name, index.offset + by)


def element(row: str, index: Index) -> str:
    """Row `index` of `row`, this lane."""
    return f"A[{row} + {index}*W + l]" if isinstance(index, int) else f"A[{row} + {index.offset}*W + {index.name}]"


def indent(text: str, columns: int) -> str:
    """`text` moved right."""
    return re.sub(r"(?m)^(?=.)", " " * columns, text.rstrip("\n")) + "\n" if text else ""


class Lanes:
    """Functions of one lane and the loops that call them, in the making.

    name: of the functions.  unrolled: one loop with everything written out, or one a section.  head: local names that
    every function opens with.  args: further arguments of the functions, name -> what the loops pass.  single: no lane
    loop, for a given lane `l`.
    """

    def __init__(
        self, name: str, unrolled: bool, head: str = "", args: Mapping[str, str] | None = None, single: bool = False
    ) -> None:
        self.name, self.unrolled, self.head, self.single = name, unrolled, head, single
        self.args = dict(args or {})
        self.defs: list[str] = []
        self.loops: list[str] = []
        self.sums: list[str] = []
        self.text = ""

    def ref(self, row: str, index: Index) -> str:
        """An intermediate result that `store` puts into `row` in the end: a local name, or the element itself."""
        return f"{row.lower()}_{index}" if self.unrolled else element(row, index)

    def sum(self, name: str) -> str:
        """A number a lane that lives through several sections: a local name, or one of the block's extra rows."""
        if self.unrolled:
            return name
        if name not in self.sums:
            self.sums.append(name)
        return element("X", self.sums.index(name))

    def store(self, row: str, count: int) -> None:
        """Put the first `count` results of `row` into the block, if they are not there."""
        if self.unrolled:
            self.text += "".join(f"{element(row, i)} = {self.ref(row, i)}\n" for i in range(count))

    def _define(self, text: str, loops: str = "", places: Mapping[str, str] | None = None) -> None:
        places = dict(places or {})
        function = f"{self.name}_{len(self.defs)}"
        self.defs.append(
            f"@_traced\ndef {function}({', '.join(['A', *places, 'l', *self.args])}):\n"
            + indent(self.head + text, 4)
            + "\n"
        )
        call = f"{function}({', '.join(['A', *places.values(), 'l', *self.args.values()])})\n"
        if not self.single:
            loops += " " * 4 * loops.count("\n") + "for l in range(W):\n"
        self.loops.append(indent(loops + " " * 4 * loops.count("\n") + call, 4))

    def lane(self, text: str) -> None:
        """A section a lane."""
        if self.unrolled:
            self.text += text
        else:
            self._define(text)

    def each(self, count: int, body: Callable[[Index], str], stride: int = 1) -> None:
        """A section for every i < count, `body(stride*i)`: components (stride 1) or bodies (their dimension)."""
        if self.unrolled:
            self.text += "".join(body(stride * i) for i in range(count))
        else:
            self._define(body(Place("p")), f"for i in range({count}):\n", {"p": f"i*{stride}*W + l"})

    def pairs(self, bodies: int, dim: int, body: Callable[[Index, Index, Index, Index], str]) -> None:
        """A section for every pair i < j, `body(dim*i, dim*j, i, j)`."""
        if self.unrolled:
            self.text += "".join(body(dim * i, dim * j, i, j) for i, j in combinations(range(bodies), 2))
            return
        loops = f"for i in range({bodies - 1}):\n    for j in range(i + 1, {bodies}):\n"
        places = {"p": f"i*{dim}*W + l", "q": f"j*{dim}*W + l", "b": "i*W + l", "c": "j*W + l"}
        self._define(body(Place("p"), Place("q"), Place("b"), Place("c")), loops, places)

    def call(self, line: str) -> None:
        """A line a lane that is not traced, behind what came before."""
        self.finish()
        self.loops.append(indent(line if self.single else f"for l in range(W):\n    {line}", 4))

    def finish(self) -> None:
        """Close the section that is being written out."""
        if self.text:
            self._define(self.text)
            self.text = ""

    def source(self) -> tuple[str, str]:
        """Definitions; the loops, as lines of a function body."""
        self.finish()
        return "".join(self.defs), "".join(self.loops)


def _squares(name: str, dim: int) -> str:
    return " + ".join(f"{name}{k}*{name}{k}" for k in range(dim))


def forces(
    lanes: Lanes, bodies: int, dim: int, state: str, slope: str, jerk: bool = True, tau: str = "", load: bool = False
) -> None:
    """Add what turns the rows `state` (positions, velocities) into `slope` (accelerations, jerks).

    jerk: jerks too.  tau: name of a sum to hold tau^-2 of AMUSE's criterion, or "".  load: the state is in the block,
    not in locals.
    """
    half = bodies * dim

    def at(c: Index) -> str:
        return element(state, c) if load else lanes.ref(state, c)

    def pair(i: Index, j: Index, mi: Index, mj: Index) -> str:
        text = ""
        for k in range(dim):
            text += f"d{k} = {at(shifted(j, k))} - {at(shifted(i, k))}\n"
            if jerk or tau:
                text += f"u{k} = {at(shifted(j, half + k))} - {at(shifted(i, half + k))}\n"
        text += f"ir = 1.0/sqrt({_squares('d', dim)})\nir2 = ir*ir\nw = ir*ir2\n"
        text += f"gi = A[P + l]*{element('P', shifted(mi, 1))}\ngj = A[P + l]*{element('P', shifted(mj, 1))}\n"
        text += "wi = gi*w\nwj = gj*w\n"
        for k in range(dim):
            text += f"{lanes.ref(slope, shifted(i, k))} += wj*d{k}\n{lanes.ref(slope, shifted(j, k))} -= wi*d{k}\n"
        if jerk:
            text += "al = 3.0*ir2*(" + " + ".join(f"d{k}*u{k}" for k in range(dim)) + ")\n"
            for k in range(dim):
                a, b = lanes.ref(slope, shifted(i, half + k)), lanes.ref(slope, shifted(j, half + k))
                text += f"v{k} = u{k} - al*d{k}\n{a} += wj*v{k}\n{b} -= wi*v{k}\n"
        if tau:
            s = lanes.sum(tau)
            text += f"{s} = maximum({s}, maximum(ir2*({_squares('u', dim)}), (gi + gj)*w))\n"
        return text

    lanes.each(2 * half if jerk else half, lambda c: f"{lanes.ref(slope, c)} = 0.0\n")
    if tau:
        lanes.lane(f"{lanes.sum(tau)} = 1e-300\n")
    if bodies > 1:
        lanes.pairs(bodies, dim, pair)


def criterion(lanes: Lanes, bodies: int, dim: int, state: str, tau: str) -> None:
    """Add AMUSE's criterion alone, from the rows `state` in the block: sum `tau` holds tau^-2."""
    half = bodies * dim

    def pair(i: Index, j: Index, mi: Index, mj: Index) -> str:
        text, s = "", lanes.sum(tau)
        for k in range(dim):
            text += f"d{k} = {element(state, shifted(j, k))} - {element(state, shifted(i, k))}\n"
            text += f"u{k} = {element(state, shifted(j, half + k))} - {element(state, shifted(i, half + k))}\n"
        text += f"ir = 1.0/sqrt({_squares('d', dim)})\n"
        mass = f"A[P + l]*({element('P', shifted(mi, 1))} + {element('P', shifted(mj, 1))})"
        return text + f"{s} = maximum({s}, maximum({_squares('u', dim)}, {mass}*ir)*(ir*ir))\n"

    lanes.lane(f"{lanes.sum(tau)} = 1e-300\n")
    if bodies > 1:
        lanes.pairs(bodies, dim, pair)
