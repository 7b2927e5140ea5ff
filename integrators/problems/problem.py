"""Initial-value problems: one trajectory (`Problem`) and many of one kind (`Batch`).

    y' = f(t, y; p),   y(t0) = y0,   t from t0 to t1 (t1 < t0 integrates backward)

or M y' = f(t, y; p) with a constant mass matrix M, which may be singular (`mass`).

Solvers call right-hand sides as rhs(t, y, p, dy), with whole-number indices and without slices or allocation
(docs/architecture.md).  Functions that people write otherwise are brought into this form when a problem is made
(`styles`). Arrays are float64 and C-contiguous; time and state carry the problem's own units.

Layouts. Second-order systems: y = (positions, velocities), each n/2 long. N-body: p = (G, m_0, ..., m_{N-1}),
positions body by body.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import mass as masses
from . import radius, sparsity
from .forms import Portable, brought_in, parameters
from .states import State, array_of, state_of

Rhs = Callable[..., None]
Invariant = Callable[..., float]


def _vector(value: Any, name: str, ndim: int = 1) -> np.ndarray:
    """`value` as a fresh float64 array with `ndim` axes; ValueError naming the field otherwise."""
    raw = array_of(name, value)
    if raw.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {raw.dtype}")
    if raw.ndim != ndim:
        shape = {0: "a scalar", 1: "one-dimensional", 2: "two-dimensional (instances, dimension)"}[ndim]
        hint = f"; write {name}=[{raw}]" if raw.ndim == 0 and name == "p" else ""
        raise ValueError(f"{name} must be {shape}, got shape {raw.shape}{hint}")
    return np.array(raw, dtype=np.float64, order="C")


def _check_functions(obj: Any) -> None:
    if not callable(obj.rhs):
        raise ValueError(f"rhs must be a function rhs(t, y, p, dy) or rhs(t, y, p), got {type(obj.rhs).__name__}")
    for label in ("jac", "accel"):
        if getattr(obj, label) is not None and not callable(getattr(obj, label)):
            raise ValueError(f"{label} must be a function or None, got {type(getattr(obj, label)).__name__}")
    object.__setattr__(obj, "spectral_radius", radius.checked(obj.spectral_radius))
    if not isinstance(obj.invariants, Mapping) or not all(map(callable, obj.invariants.values())):
        raise ValueError("invariants must map names to functions invariant(t, y, p)")


def _check_layout(obj: Any, n: int, m: int) -> None:
    if n == 0:
        raise ValueError("y0 must not be empty")
    if obj.accel is not None and n % 2:
        raise ValueError(f"accel needs y = (positions, velocities): y0 has odd length {n}")
    if obj.nbody is None:
        return
    try:
        bodies, dim = (int(v) for v in obj.nbody)
    except (TypeError, ValueError):
        raise ValueError(f"nbody must be (number of bodies, dimension) or None, got {obj.nbody!r}") from None
    if bodies < 1 or dim not in (1, 2, 3):
        raise ValueError(f"nbody must be at least one body in 1 to 3 dimensions, got {obj.nbody!r}")
    if n != 2 * bodies * dim:
        raise ValueError(f"y0 of {bodies} bodies in {dim} dimensions has {2 * bodies * dim} values, got {n}")
    if m < bodies + 1:
        raise ValueError(f"p of an N-body problem is (G, m_0, ..., m_{bodies - 1}), got {m} values")
    object.__setattr__(obj, "nbody", (bodies, dim))


def _finite(value: np.ndarray, name: str) -> None:
    if not np.all(np.isfinite(value)):
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(np.atleast_1d(value)))[0])
        raise ValueError(f"{name} must be finite, but entry {where if len(where) > 1 else where[0]} is "
                         f"{np.atleast_1d(value)[where]}")


def _check_matrices(obj: Any) -> None:
    object.__setattr__(obj, "mass", masses.checked(obj.mass, obj.n, obj.state))
    object.__setattr__(obj, "sparsity", sparsity.checked(obj.sparsity, obj.n, obj.mass))


def vectorised(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with NumPy's elementary functions in place of its own: it then maps y (n, ...) to (...)."""
    names = {"fabs": np.abs, "atan": np.arctan, "pow_": np.power, "where": np.where}
    names |= {k: getattr(np, k) for k in ("exp", "log", "sin", "cos", "tanh", "sqrt", "minimum", "maximum")}
    code = fn if isinstance(fn, types.FunctionType) else getattr(fn, "py_func", fn)
    used = {k: v for k, v in names.items() if k in code.__globals__}
    return types.FunctionType(code.__code__, {**code.__globals__, **used}, code.__name__, code.__defaults__,
                              code.__closure__)


@dataclass(frozen=True, eq=False)
class Problem(Portable):
    """One initial-value problem.

    rhs: `rhs(t, y, p, dy)`, writes dy in place, or `rhs(t, y, p)`, returns it (all forms: `styles`).  y0: (n,) float64;
    a number, a matrix or complex numbers are flattened, and the field `state` keeps their shape.  t_span: (t0, t1),
    finite; t0 == t1 is allowed.  p: (m,) float64 parameters, or a mapping of names to numbers, which the field `names`
    keeps.  args: further arguments of rhs and jac in place of p, as SciPy takes them.  jac: `jac(t, y, p, J)` in place,
    J (n, n), or `jac(t, y, p)`, which returns it, or None.  compiled: False runs rhs and jac as plain Python: any
    callable, but slowly; "apart" compiles them as functions of their own, which a kernel calls by their addresses:
    problems of the same dimensions then share one kernel, a new function takes a fraction of a second to compile, and
    a call takes some tens of nanoseconds more. name: a label. family: name of the family it was drawn from, or None.
    nbody: (bodies, dimension) or None. invariants: name -> `f(t, y, p)`, conserved along exact solutions. sparsity:
    where the Jacobian may be non-zero, for implicit methods: (lower, upper) diagonals beside the main one, or an (n, n)
    array, dense or SciPy sparse, non-zero there; None: everywhere. With it, `jac` need not write the other entries.
    mass: M of M y' = f(t, y; p), (n, n), dense or SciPy sparse, or (n,), its diagonal; None: the identity.  Implicit
    methods alone take one.  spectral_radius: of df/dy, for the method rkc: a bound from above, unit 1/time, a number or
    a function (t, y, p) -> number; None: it is found (`radius`).  accel: `accel(t, y, p, a)` for second-order
    systems: a (n/2,) from positions y[:n/2]. N-body needs none. validate=False admits NaN and infinite y0 (to test how
    solvers fail); shapes are always checked.

    Raises ValueError, naming the field, on wrong shapes or dtypes and on non-finite t_span, p or
    (if validate) y0.
    """

    rhs: Rhs
    y0: np.ndarray
    t_span: tuple[float, float]
    p: np.ndarray = ()  # type: ignore[assignment]
    jac: Callable[..., None] | None = None
    name: str = "user"
    family: str | None = None
    nbody: tuple[int, int] | None = None
    invariants: Mapping[str, Invariant] = field(default_factory=dict)
    accel: Callable[..., None] | None = None
    sparsity: Any = None
    names: tuple[str, ...] | None = None
    state: State | None = None
    validate: InitVar[bool] = True
    args: InitVar[Any] = None
    compiled: InitVar[Any] = True
    mass: Any = None
    spectral_radius: Any = None

    if TYPE_CHECKING:  # what the constructor takes is wider than what the fields hold afterwards

        def __init__(
            self, rhs: Callable[..., Any], y0: ArrayLike, t_span: ArrayLike,
            p: ArrayLike | Mapping[str, float] = (), jac: Callable[..., Any] | None = None,
            name: str = "user", family: str | None = None, nbody: tuple[int, int] | None = None,
            invariants: Mapping[str, Invariant] = ..., accel: Callable[..., None] | None = None, sparsity: Any = None,
            names: tuple[str, ...] | None = None, state: State | None = None, validate: bool = True,
            args: Any = None, compiled: bool | str = True, mass: Any = None, spectral_radius: Any = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self, validate: bool, args: Any, compiled: Any) -> None:
        _check_functions(self)
        layout, given = parameters(self, args)
        if self.state is None:
            own_shape = self.accel is None and self.nbody is None  # these have a layout of their own
            object.__setattr__(self, "state", state_of(self.y0) if own_shape else None)
            y0 = self.y0 if self.state is None else self.state.flat(self.y0)
        else:
            y0 = self.state.flat(self.y0) if np.shape(self.y0) == self.state.shape else self.y0
        y0, p = _vector(y0, "y0"), _vector(given, "p")
        span = _vector(self.t_span, "t_span")
        if span.shape != (2,):
            raise ValueError(f"t_span must be (t0, t1), got {span.size} values")
        _finite(span, "t_span")
        _finite(p, "p")
        if validate:
            _finite(y0, "y0")
        for key, value in (("y0", y0), ("p", p), ("t_span", (float(span[0]), float(span[1])))):
            object.__setattr__(self, key, value)
        _check_layout(self, self.n, self.m)
        brought_in(self, float(span[0]), y0, p, layout, compiled)
        _check_matrices(self)

    @property
    def special(self) -> bool:
        """Whether there is something for `compile.prepared` to do."""
        if getattr(self.rhs, "__closure__", None) is not None or hasattr(self.rhs, "stepsmith_style"):
            return True
        return hasattr(self.jac, "stepsmith_style") or hasattr(self.spectral_radius, "stepsmith_style")

    @property
    def n(self) -> int:
        """Dimension of the state."""
        return self.y0.size

    @property
    def m(self) -> int:
        """Number of parameters."""
        return self.p.size

    def invariant(self, name: str, t: Any, y: Any) -> np.ndarray:
        """The invariant along states y (..., n) at times t (...): (...). ValueError on an unknown name."""
        return _invariant(self, name, np.asarray(t, float), np.moveaxis(np.asarray(y, float), -1, 0), self.p)

    def batch(self, *, p: Any = None, y0: Any = None, t_span: Any = None, t1: Any = None) -> Batch:
        """This problem as a batch: of one, or of as many instances as the arguments hold.

        p: (B, m) or (m,), or a mapping from names of parameters to numbers or (B,), where they have names.  y0: (B, n)
        or (n,).  t_span: (B, 2) or (2,), or t1: (B,) or a number.  What has no B holds for all instances; what is not
        given is the problem's.  Raises ValueError where two arguments hold different numbers of instances.
        """
        if not (p is None and y0 is None and t_span is None and t1 is None):
            from .batches import varied_batch

            return varied_batch(self, p, y0, t_span, t1)
        t0, end = self.t_span
        return Batch(self.rhs, self.y0[None], self.p[None], np.array([t0]), np.array([end]), name=self.name,
                     nbody=self.nbody, jac=self.jac, invariants=self.invariants, family=self.family,
                     accel=self.accel, sparsity=self.sparsity, names=self.names, state=self.state, validate=False,
                     mass=self.mass, spectral_radius=self.spectral_radius)


@dataclass(frozen=True, eq=False)
class Batch(Portable):
    """Instances of one problem: same rhs and dimension, own y0, p and time span each.

    y0: (B, n), or (B, *shape) of states of another shape.  p: (B, m), or a mapping of names to numbers or arrays (B,).
    t0, t1: (B,).  All float64; the other fields as in `Problem`.
    `len(batch)`, `batch[i]` -> Problem, `batch[slice | index array | mask]` -> Batch.  `Batch.of(problems)` makes one
    of Problems, `problem.batch(p=..., y0=..., t1=...)` of one whose numbers vary.
    """

    rhs: Rhs
    y0: np.ndarray
    p: np.ndarray
    t0: np.ndarray
    t1: np.ndarray
    name: str = "user"
    nbody: tuple[int, int] | None = None
    jac: Callable[..., None] | None = None
    invariants: Mapping[str, Invariant] = field(default_factory=dict)
    family: str | None = None
    accel: Callable[..., None] | None = None
    sparsity: Any = None
    names: tuple[str, ...] | None = None
    state: State | None = None
    validate: InitVar[bool] = True
    compiled: InitVar[Any] = True
    mass: Any = None
    spectral_radius: Any = None

    if TYPE_CHECKING:

        def __init__(
            self, rhs: Callable[..., Any], y0: ArrayLike, p: ArrayLike | Mapping[str, ArrayLike], t0: ArrayLike,
            t1: ArrayLike, name: str = "user",
            nbody: tuple[int, int] | None = None, jac: Callable[..., None] | None = None,
            invariants: Mapping[str, Invariant] = ..., family: str | None = None,
            accel: Callable[..., None] | None = None,
            sparsity: Any = None, names: tuple[str, ...] | None = None, state: State | None = None,
            validate: bool = True, compiled: bool | str = True, mass: Any = None, spectral_radius: Any = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self, validate: bool, compiled: Any) -> None:
        _check_functions(self)
        if self.state is None and np.ndim(self.y0) > 1 and self.accel is None and self.nbody is None:
            object.__setattr__(self, "state", state_of(self.y0, 1))
        raw = self.y0
        if self.state is not None and np.asarray(raw).shape[1:] != (self.state.size,):
            raw = self.state.flat(raw)
        layout, given = parameters(self, None, np.asarray(raw).shape[0] if np.ndim(raw) else 0)
        y0, p = _vector(raw, "y0", 2), _vector(given, "p", 2)
        values = {"y0": y0, "p": p}
        for key in ("t0", "t1"):
            raw = np.asarray(getattr(self, key))
            values[key] = _vector(np.broadcast_to(raw, y0.shape[:1]) if raw.ndim == 0 else raw, key)
        for key, value in values.items():
            if len(value) != len(y0):
                raise ValueError(f"{key} holds {len(value)} instances, y0 holds {len(y0)}")
            if key != "y0" or validate:
                _finite(value, key)
            object.__setattr__(self, key, value)
        _check_layout(self, self.n, self.m)
        if len(y0):
            brought_in(self, float(values["t0"][0]), y0[0], p[0], layout, compiled)
        _check_matrices(self)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Batch:
        """Problems of one kind, a list of them or a generator, as one Batch; y0, p and t_span are each one's own.

        Their rhs, jac, accel and invariants must be one function each, or compute the same; dimensions, nbody and
        sparsity must be equal.  Right-hand sides that are closures and differ in captured floats alone become one
        function, which reads those floats from p, behind the problem's own parameters (they need the function's source;
        not with jac, accel or nbody).  Raises ValueError, saying which problem differs in what, and on no problems.
        """
        from .batches import of

        return of(problems)

    @property
    def n(self) -> int:
        """Dimension of the state."""
        return self.y0.shape[1]

    @property
    def m(self) -> int:
        """Number of parameters."""
        return self.p.shape[1]

    def __len__(self) -> int:
        return len(self.y0)

    def __getitem__(self, key: Any) -> Any:
        common: dict[str, Any] = dict(name=self.name, nbody=self.nbody, jac=self.jac, invariants=self.invariants,
                                      family=self.family, accel=self.accel, sparsity=self.sparsity,
                                      names=self.names, state=self.state, validate=False, mass=self.mass,
                                      spectral_radius=self.spectral_radius)
        if isinstance(key, (int, np.integer)):
            span = (self.t0[key], self.t1[key])
            return Problem(self.rhs, self.y0[key], span, self.p[key], **common)
        key = key if isinstance(key, slice) else np.asarray(key)
        if not isinstance(key, slice) and key.size == 0:
            key = key.astype(np.intp)
        return Batch(self.rhs, self.y0[key], self.p[key], self.t0[key], self.t1[key], **common)

    def times(self, fractions: Any) -> np.ndarray:
        """t0 + fractions * (t1 - t0), exactly t1 where the fraction is 1: (B, len(fractions))."""
        s = _vector(fractions, "fractions")
        times = self.t0[:, None] + s * (self.t1 - self.t0)[:, None]
        return np.where(s == 1.0, self.t1[:, None], times)

    def invariant(self, name: str, t: Any, y: Any) -> np.ndarray:
        """The invariant along states y (B, ..., n) at times t (B, ...): array (B, ...)."""
        y = np.moveaxis(np.asarray(y, float), -1, 0)
        p = self.p.T.reshape(self.m, len(self), *(1,) * (y.ndim - 2))
        return _invariant(self, name, np.asarray(t, float), y, p)


def _invariant(obj: Problem | Batch, name: str, t: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    if name not in obj.invariants:
        have = ", ".join(sorted(obj.invariants)) or "none"
        raise ValueError(f"{obj.name} has no invariant {name!r}; it has: {have}")
    if len(y) != obj.n:
        raise ValueError(f"the last axis of y must have length {obj.n}, got {len(y)}")
    return np.asarray(vectorised(obj.invariants[name])(t, y, p))
