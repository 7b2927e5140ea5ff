"""Dense output of Gragg-Bulirsch-Stoer extrapolation (`methods.extrapolation.gbs`), a lane at a time.

Rows: FS, slopes of the midpoint rule in a row of 4 j substeps, then their differences; DC, derivatives at the middle of
the step, then the coefficients of what is added to the cubic.
"""

from ..slots import DIM, HS, K0, K1, NPAR, TN, WIDTH, YN, G, N, P, T, W, Y, Z, frozen, inline, piece, rhs, view
from .not_fsal import end_is_known
from .slots import COL, DC, FS, K_END, PA, PB


@piece
def middle_row(A, l, j):
    # slopes of a row of 4 j substeps, whose increment in the middle of the step is added to DC with weight w
    h = A[HS + l]/(4*j)
    for i in range(N):
        A[PA + i*W + l] = 0.0
        A[PB + i*W + l] = h*A[K0 + i*W + l]
    for s in range(1, 4*j):
        if s == 2*j:
            w = share(j, 1, int(A[COL + l]))
            for i in range(N):
                A[DC + i*W + l] += w*A[PB + i*W + l]
        for i in range(N):
            A[G + i*W + l] = A[Y + i*W + l] + A[PB + i*W + l]
        t = A[T + l] + s*h
        rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
        for i in range(N):
            f = A[K1 + i*W + l]
            A[FS + ((s - 1)*N + i)*W + l] = f
            z = A[PA + i*W + l] + 2.0*h*f
            A[PA + i*W + l] = A[PB + i*W + l]
            A[PB + i*W + l] = z


@piece
def share(j, first, k):
    # weight of row j in what rows first to k are extrapolated to
    w = 1.0
    for i in range(first, k + 1):
        if i != j:
            w *= j*j/(j*j - i*i)
    return w


@piece
def middle(A, l, k):
    # DC: the increment in the middle of the step, and H^q y^(q)/q! there, q up to 2 k - 2
    most = 2*k - 2
    for i in range((most + 1)*N):
        A[DC + i*W + l] = 0.0
    for j in range(1, k + 1):
        middle_row(A, l, j)
        scale = A[HS + l]
        for q in range(1, min(2*j, most) + 1):
            if q > 1:
                scale *= 2*j/q
                for s in range(4*j - 2*q + 1):
                    for i in range(N):
                        A[FS + (s*N + i)*W + l] = A[FS + ((s + 2)*N + i)*W + l] - A[FS + (s*N + i)*W + l]
            w = scale*share(j, (q + 1)//2, k)
            for i in range(N):
                A[DC + (q*N + i)*W + l] += w*A[FS + ((2*j - q)*N + i)*W + l]


@piece
def polynomial(A, l):
    k = int(A[COL + l])
    middle(A, l, k)
    for i in range(N):
        h0 = A[HS + l]*A[K0 + i*W + l]
        h1 = A[HS + l]*A[K_END + i*W + l]
        d = A[YN + i*W + l] - A[Y + i*W + l]
        for q in range(2*k - 1):
            a = A[DC + (q*N + i)*W + l]
            # less the cubic's
            a -= 0.5*d + 0.125*(h0 - h1) if q == 0 else 0.0
            a -= 1.5*d - 0.25*(h0 + h1) if q == 1 else 0.0
            a -= 0.5*(h1 - h0) if q == 2 else 0.0
            a -= h0 + h1 - 2.0*d if q == 3 else 0.0
            a += 0.5*A[DC + ((q - 2)*N + i)*W + l] if q > 1 else 0.0
            a -= A[DC + ((q - 4)*N + i)*W + l] if q > 3 else 0.0
            A[DC + (q*N + i)*W + l] = 16.0*a
    return 2.0*k*(k + 1) - k


@inline
def prepare_dense(A, l):
    rhs(A[TN + l], frozen(A, YN + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K_END + l, WIDTH, DIM))
    end_is_known(A, l)
    return 1.0 + polynomial(A, l)


@piece
def dense(A, l, th):
    u = 1.0 - th
    k = int(A[COL + l])
    for i in range(N):
        h = A[HS + l]
        y = A[Y + i*W + l]
        d = A[YN + i*W + l] - y
        rest = 0.0
        for q in range(2*k - 2, -1, -1):
            rest = A[DC + (q*N + i)*W + l] + (th - 0.5)*rest
        cubic = (u - th)*d - h*(u*A[K0 + i*W + l] - th*A[K_END + i*W + l])
        A[Z + i*W + l] = (u*y + th*A[YN + i*W + l]) + th*u*(th*u*rest - cubic)
