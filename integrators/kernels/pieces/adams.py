"""One trial step of an Adams method, a lane at a time (`kernels.adams`).

K0 is the slope at the step's start, FP (KEPT, n) the slopes before it, K1 the slope at the predicted state.
"""


from ..slots import (
    ACC,
    DIM,
    HS,
    K0,
    K1,
    LANDS,
    NPAR,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_NF,
    R_ORDER,
    R_YNORM,
    STATUS,
    STUCK,
    TEND,
    WIDTH,
    YN,
    G,
    N,
    P,
    T,
    W,
    Y,
    Z,
    fabs,
    frozen,
    inline,
    piece,
    rhs,
    sqrt,
    traced,
    view,
    where,
)  # fmt: skip
from .multistep import basis, choose, nodes, turn, weight
from .slots import (
    AFTER,
    FAILS,
    FP,
    GAUSS_W,
    GAUSS_X,
    KEPT,
    ORD,
    POINTS,
    READY,
    RESTART,
    WANTS_ENORM,
    WANTS_YNORM,
    WT,
    XI,
)  # fmt: skip


@traced
def carry(A, j, l, acc):
    for i in range(KEPT - 1):
        m = KEPT - 1 - i
        A[FP + m*N*W + j] = where(acc, A[FP + (m - 1)*N*W + j], A[FP + m*N*W + j])
    A[FP + j] = where(acc, A[K0 + j], A[FP + j])


@traced
def marks(A, l):
    turn(A, l)
    A[READY + l] = where(A[ACC + l] == 1.0, 0.0, where(A[STUCK + l] == 1.0, 1.0, A[READY + l]))
    again = A[FAILS + l] >= RESTART
    A[POINTS + l] = where(again, 1.0, A[POINTS + l])
    A[ORD + l] = where(again, 1.0, A[ORD + l])
    A[FAILS + l] = where(again, 0.0, A[FAILS + l])


@piece
def moment(A, l, first, count):
    # integral of (s + XI_first) ... over s from -1 to 0, `count` factors
    total = 0.0
    for q in range(7):
        full = GAUSS_W[q]
        for i in range(first, first + count):
            full *= GAUSS_X[q] - 1.0 + A[XI + i*W + l]
        total += full
    return total


@piece
def integrals(A, l, first, count, x):
    # weights of the integral, from -1 to x, of the polynomial through `count` nodes from -XI_first on
    for i in range(count):
        A[WT + i*W + l] = 0.0
    for q in range(7):
        s = GAUSS_X[q]*(x + 1.0) - 1.0
        full = GAUSS_W[q]*(x + 1.0)
        for i in range(first, first + count):
            full *= s + A[XI + i*W + l]
        for i in range(count):
            A[WT + i*W + l] += full/(s + A[XI + (first + i)*W + l])
    for i in range(count):
        a = A[XI + (first + i)*W + l]
        d = 1.0
        for m in range(first, first + count):
            d *= A[XI + m*W + l] - a if m != first + i else 1.0
        A[WT + i*W + l] /= d


@piece
def constant(A, l, first, count, j):
    # the integral over x_1 ... x_j
    full = 1.0
    for i in range(1, j + 1):
        full *= A[XI + i*W + l]
    return moment(A, l, first, count)/full


@piece
def estimate(A, l, j):
    # what order j would have made of this step
    basis(A, l, 1, j, 0.0)
    total = 0.0
    for c in range(N):
        f = A[K0 + c*W + l]
        d = A[K1 + c*W + l] - f
        for i in range(1, j):
            d -= A[WT + i*W + l]*(A[FP + ((i - 1)*N + c)*W + l] - f)
        d = d/weight(A, l, c)
        total += d*d
    return fabs(A[HS + l]*constant(A, l, 0, j, j))*sqrt(total/N)


@piece
def attempt_lane(A, l):
    A[R_NF + l] = 1.0
    if A[READY + l] != 1.0:
        t = A[T + l]
        rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
        A[R_NF + l] = 2.0
    k = int(A[ORD + l])
    h = A[HS + l]
    nodes(A, l)
    integrals(A, l, 1, k, 0.0)
    for c in range(N):
        f = A[K0 + c*W + l]
        g = f
        for i in range(1, k):
            g += A[WT + i*W + l]*(A[FP + ((i - 1)*N + c)*W + l] - f)
        A[G + c*W + l] = A[Y + c*W + l] + h*g
    t = A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + h
    rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
    basis(A, l, 1, k, 0.0)
    share = h*constant(A, l, 1, k, k)
    total = 0.0
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        f = A[K0 + c*W + l]
        d = A[K1 + c*W + l] - f
        for i in range(1, k):
            d -= A[WT + i*W + l]*(A[FP + ((i - 1)*N + c)*W + l] - f)
        A[YN + c*W + l] = A[G + c*W + l] + share*d
        sc = weight(A, l, c)
        d = d/sc
        total += d*d
        most = max(most, fabs(d))
        size += (A[Y + c*W + l]/sc)*(A[Y + c*W + l]/sc)
        finite += 0.0*A[YN + c*W + l]
    norm = sqrt(total/N)
    err = choose(A, l, k, fabs(h*constant(A, l, 0, k, k))*norm)
    A[R_ERR + l] = err
    A[R_ORDER + l] = A[AFTER + l] + 1.0
    A[R_FINITE + l] = 1.0 if finite + 0.0*err == 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = most/norm if norm > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(size/N)


@inline
def attempt(A):
    for l in range(W):
        if A[STATUS + l] == 0.0:
            attempt_lane(A, l)
        else:
            A[R_NF + l] = 0.0


@inline
def prepare_dense(A, l):
    return 0.0


@inline
def dense(A, l, th):
    # y_(n-1) and the integral of the polynomial through the slope at the predicted state and those before it
    k = int(A[ORD + l])
    integrals(A, l, 0, k + 1, th - 1.0)
    for c in range(N):
        f = A[K0 + c*W + l]
        z = (A[WT + l]*(A[K1 + c*W + l] - f)) + th*f
        for i in range(1, k):
            z += A[WT + (i + 1)*W + l]*(A[FP + ((i - 1)*N + c)*W + l] - f)
        A[Z + c*W + l] = A[Y + c*W + l] + A[HS + l]*z
