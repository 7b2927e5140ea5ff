"""Rooted trees and the order conditions of Runge-Kutta methods.

A rooted tree t is the sorted tuple of the subtrees at its root; the single node is ().  With |t| nodes and

    gamma(t) = |t| prod gamma(t_i),    Phi(t) = prod A Phi(t_i)  (componentwise),    Phi(()) = 1,

weights b have order p if and only if b . Phi(t) = 1/gamma(t) for all trees of at most p nodes; a dense output
P has order p for every theta if and only if sum_i P_ij Phi_i(t) = [j + 1 = |t|] / gamma(t) for those trees.

Source: J. C. Butcher, Numerical Methods for Ordinary Differential Equations, 3rd ed., Wiley 2016, chapter 3.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import prod

from .explicit.tableau import Number

Tree = tuple["Tree", ...]


@cache
def rooted_trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees of `order` >= 1 nodes, sorted: 1, 1, 2, 4, 9, 20, 48, 115 for 1 ... 8 nodes."""
    if order < 1:
        raise ValueError(f"a tree has at least one node, got order {order}")
    if order == 1:
        return ((),)
    # Every tree of n + 1 nodes arises from one of n by hanging a leaf on some node.
    return tuple(sorted({grown for tree in rooted_trees(order - 1) for grown in _with_leaf(tree)}))


def _with_leaf(tree: Tree) -> set[Tree]:
    out = {tuple(sorted((*tree, ())))}
    for i, child in enumerate(tree):
        rest = tree[:i] + tree[i + 1 :]
        out |= {tuple(sorted((*rest, grown))) for grown in _with_leaf(child)}
    return out


@cache
def nodes(tree: Tree) -> int:
    """Number of nodes |t|."""
    return 1 + sum(map(nodes, tree))


@cache
def density(tree: Tree) -> int:
    """The density gamma(t)."""
    return nodes(tree) * prod(map(density, tree))


class StageWeights:
    """Elementary weights Phi(t) of every stage for the strictly lower rows `a` (row i holds i entries).

    `one` sets the arithmetic: the entries of `a` and of weights must be numbers that mix with it (Fraction,
    float, mpmath.mpf).  Results have its type.
    """

    def __init__(self, a: Sequence[Sequence[Number]], one: Number = Fraction(1)):
        self._a = a
        self._one = one
        self._phi: dict[Tree, list[Number]] = {}
        self._a_phi: dict[Tree, list[Number]] = {}

    def phi(self, tree: Tree) -> list[Number]:
        """Phi(t), one value a stage."""
        if tree not in self._phi:
            out = [self._one] * len(self._a)
            for child in tree:
                out = [x * y for x, y in zip(out, self._apply(child), strict=True)]
            self._phi[tree] = out
        return self._phi[tree]

    def residual(self, weights: Sequence[Number], tree: Tree) -> Number:
        """gamma(t) weights . Phi(t) - 1, the relative defect of the order condition of t."""
        return density(tree) * self._sum(weights, self.phi(tree)) - 1

    def _apply(self, tree: Tree) -> list[Number]:
        if tree not in self._a_phi:
            phi = self.phi(tree)
            self._a_phi[tree] = [self._sum(row, phi[: len(row)]) for row in self._a]
        return self._a_phi[tree]

    def _sum(self, row: Sequence[Number], values: Sequence[Number]) -> Number:
        return sum((x * y for x, y in zip(row, values, strict=True) if x), self._one * 0)
