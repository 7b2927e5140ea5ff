"""Linear systems (I - A) w = g, one a row, of which only the product A w of all rows is known.

A is block diagonal: row b of A w depends on row b of w alone, so that every row has a Krylov space of its own, and one
product serves all of them.  Rows are done at their own time; what is done rests while the others go on.

`gmres` minimises the residual over the Krylov space (Y. Saad, M. H. Schultz, GMRES: a generalized minimal residual
algorithm for solving nonsymmetric linear systems, SIAM J. Sci. Stat. Comput. 7 (1986) 856-869), with classical
Gram-Schmidt done twice and a restart after `RESTART` products.  It works for every regular I - A, in at most as many
products as a row has numbers.  `fixed_point` is the iteration w <- A w + g, which needs no memory and converges only
where A contracts, that is where its eigenvalues lie within the unit circle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Tensor = torch.Tensor
Product = Callable[[Tensor], Tensor]
#: products after which GMRES begins anew from what it has found, so that its memory is bounded
RESTART = 30
#: a residual that is as many times g has no hope of becoming small by iterating
HOPELESS = 1e3


@dataclass(frozen=True)
class Found:
    """What a linear solve has found.

    w          (rows, width), the solution.
    residual   (rows,) ||g - (I - A) w|| / (||g|| + ||w||), where ||w|| counts up to ||g|| / sqrt(tol); zero where g is,
               NaN where g is not finite.  w solves exactly what has a g and an A that are off by as much, of its norm
               and of 1.  Where I - A is nearly singular w is large, and a small residual over ||g|| alone out of reach.
    done       (rows,) whether that is within the tolerance; True where g is not finite, which no w answers.
    products   how many products A w it took.
    """

    w: Tensor
    residual: Tensor
    done: Tensor
    products: int


def gmres(product: Product, g: Tensor, tol: float, most: int, restart: int = RESTART) -> Found:
    """w with a `Found.residual` of at most tol in every row of g (rows, width).

    It takes at most `most` products but for those that compute the residual at the end of a cycle.
    """
    g, size, finite = _prepared(g)
    w, left, products = torch.zeros_like(g), g, 0
    length, goal = size, tol * size
    while bool((open_ := length > goal).any()) and products < most:
        added, taken = _cycle(product, left, length, goal, open_, min(restart, most - products, g.shape[1]))
        w = w + added
        left = g - (w - product(w))
        before, length = length, torch.linalg.vector_norm(left, dim=1)
        goal = tol * _whole(w, size, tol)
        products += taken + 1
        if not bool((open_ & (length < 0.99 * before)).any()):
            break  # no row gets any further: its matrix is singular, or the products are no more exact than that
    return _found(w, length, size, finite, tol, products)


def fixed_point(product: Product, g: Tensor, tol: float, most: int) -> Found:
    """As `gmres`, by w <- A w + g from w = g; ends too where no row that is left has a residual below `HOPELESS`."""
    g, size, finite = _prepared(g)
    w, length, products = g, size, 0
    open_ = length > 0
    while bool(open_.any()) and products < most:
        new = g + product(w)
        products += 1
        length = torch.where(open_, torch.linalg.vector_norm(new - w, dim=1), length)
        hopeless = ~(length <= HOPELESS * size)
        goal = tol * _whole(w, size, tol)
        w = torch.where((open_ & ~hopeless)[:, None], new, w)
        open_ = open_ & (length > goal) & ~hopeless
    return _found(w, length, size, finite, tol, products)


def _prepared(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """g with zero for its rows that are not finite, the norms of these rows, and which rows are finite."""
    finite = torch.isfinite(g).all(1)
    g = torch.where(finite[:, None], g, 0.0)
    return g, torch.linalg.vector_norm(g, dim=1), finite


def _whole(w: Tensor, size: Tensor, tol: float) -> Tensor:
    """What residuals are measured by, (rows,); size: of g."""
    return size + torch.minimum(torch.linalg.vector_norm(w, dim=1), size / tol**0.5)


def _found(w: Tensor, length: Tensor, size: Tensor, finite: Tensor, tol: float, products: int) -> Found:
    whole = _whole(w, size, tol)
    residual = torch.where(whole > 0, length / torch.where(whole > 0, whole, 1.0), 0.0)
    nan = torch.full((), torch.nan, dtype=w.dtype, device=w.device)
    done = (residual <= tol) | ~finite
    return Found(torch.where(finite[:, None], w, nan), torch.where(finite, residual, nan), done, products)


def _cycle(
    product: Product, left: Tensor, length: Tensor, goal: Tensor, open_: Tensor, most: int
) -> tuple[Tensor, int]:
    """What one cycle of at most `most` products adds to w, (rows, width), and the number of its products.

    left, length: residuals (rows, width) and their norms (rows,).  goal: the norms wanted.  open_: which rows take
    part; the others get zero.

    Arnoldi's vectors lie in `basis`.  `turn` is the product of all Givens rotations so far, which brings the Hessenberg
    matrix of a row to the triangle `upper`, and its right-hand side to `right`.  A row that is done gets a column of
    the unit matrix and a zero on the right: its vector has no part in w.
    """
    rows, width = left.shape
    basis = left.new_zeros(most + 1, rows, width)
    basis[0] = torch.where(open_[:, None], left / torch.where(open_, length, 1.0)[:, None], 0.0)
    turn = torch.eye(most + 1, dtype=left.dtype, device=left.device).repeat(rows, 1, 1)
    upper, right = turn[:, :most, :most].clone(), left.new_zeros(rows, most + 1)
    right[:, 0] = torch.where(open_, length, 0.0)
    j = 0
    for j in range(most):
        known = basis[: j + 1]
        v = basis[j] - product(basis[j])
        column = left.new_zeros(rows, most + 1)
        for _ in range(2):
            part = torch.einsum("jbw,bw->bj", known, v)
            v = v - torch.einsum("jbw,bj->bw", known, part)
            column[:, : j + 1] += part
        size = torch.linalg.vector_norm(v, dim=1)
        column[:, j + 1] = size
        column = torch.bmm(turn, column[:, :, None])[:, :, 0]
        radius = torch.hypot(column[:, j], column[:, j + 1])
        part_taken = open_ & (radius > 0)
        safe = torch.where(part_taken, radius, 1.0)
        c = torch.where(part_taken, column[:, j] / safe, 1.0)
        s = torch.where(part_taken, column[:, j + 1] / safe, 0.0)
        first, second = turn[:, j].clone(), turn[:, j + 1].clone()
        turn[:, j] = c[:, None] * first + s[:, None] * second
        turn[:, j + 1] = c[:, None] * second - s[:, None] * first
        column[:, j] = radius
        upper[:, : j + 1, j] = torch.where(part_taken[:, None], column[:, : j + 1], upper[:, : j + 1, j])
        old = right[:, j].clone()
        right[:, j] = torch.where(part_taken, c * old, 0.0)
        right[:, j + 1] = torch.where(part_taken, -s * old, 0.0)
        open_ = part_taken & (right[:, j + 1].abs() > goal) & (size > 0)
        if not bool(open_.any()):
            break
        basis[j + 1] = torch.where(open_[:, None], v / torch.where(open_, size, 1.0)[:, None], 0.0)
    n = j + 1
    share = torch.linalg.solve_triangular(upper[:, :n, :n], right[:, :n, None], upper=True)[:, :, 0]
    return torch.einsum("jbw,bj->bw", basis[:n], share), n
