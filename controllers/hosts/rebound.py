"""REBOUND: `ctrl.for_rebound().attach(sim)`, and then `sim.integrate(t)` as before.

REBOUND calls a heartbeat after every step, which may set `sim.dt`.  The heartbeat here measures the step that was just
made, asks the controller, and sets the size of the next one.  A step that the controller rejects is taken back: time,
positions and velocities are put to where they were, and the step is made again with another size (`steps_done` and
the wall time of REBOUND count it all the same).  Read against REBOUND 5.2.

Integrators, and what is measured of them:

    ias15      the time scales, and the error by which Rein and Spiegel (2015, equation 9) choose the step: the largest
               b_6 over the largest acceleration, divided by `epsilon`; it goes as h^7.  REBOUND's own choice of steps
               is turned off (epsilon = 0).  REBOUND's rule "GLOBAL" is then the law
               controller("i").replace(safety=1.0, fmin=1e-3, fmax=4.0, accept_factor=0.25, accept_err=1e9).
    leapfrog   the time scales.  There is no error estimate, so that only criteria ("amuse", "aarseth", "ias15") and
               controllers that stand on them can decide.
    whfast     as leapfrog, with safe_mode = 1.

**A symplectic integrator is symplectic for a constant step only**: with leapfrog and whfast under a controller the
error of the energy grows with time, as it does not with constant steps.  `attach` warns of it.

**The simulation may be changed** between two calls of `integrate`, and in `then`: the next step begins from there.  A
step in which bodies merge or leave is accepted as it is.  Variational particles and MEGNO are refused.  A copy of the
simulation, or one that is read from a file, has no heartbeat, and with ias15 constant steps: attach another one.
`detach` leaves the simulation to REBOUND.

Where the simulation cannot go on it is stopped, with a RuntimeWarning and the reason in `failure`: `sim.integrate`
returns before its end then, and `heartbeat.integrate(sim, t)` raises `StepFailed`.

Time scales are those of the record, of all gravitating bodies at once: see `timescales`.  They know Newton's gravity
with the simulation's G and softening alone; forces of your own are not in them.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ...integrators.core import options
from ...integrators.core import record as rec
from ...integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR
from ...integrators.core.errors import shown
from ...integrators.core.runner import slots_read
from ...integrators.engine.decisions import Decisions
from .fitting import fit, library

TIMES = frozenset({rec.TAU_AMUSE, rec.TAU_AARSETH, rec.TAU_PRS})
COMMON = TIMES | {rec.H, rec.H_FREE, rec.TRUNCATED, rec.FINITE}
VARIATIONS = (
    "variational particles and MEGNO cannot be steered: a rejected step is taken back for the bodies alone. Integrate "
    "them with REBOUND's own steps"
)


#: heartbeats that `attach` and `detach` have set
_OURS: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def ours(sim: Any) -> bool:
    """Whether the simulation's heartbeat is one that was set here."""
    beat = getattr(sim, "_hb", None)
    return beat is not None and _OURS.get(id(beat)) is beat


def _nothing(_pointer: Any) -> None:
    """The heartbeat of a simulation that is left to itself."""


#: what each integrator shows
SLOTS = {
    "ias15": COMMON | {rec.ERR, rec.ORDER, rec.RTOL}, "leapfrog": COMMON, "whfast": COMMON,
}  # fmt: skip
SYMPLECTIC = ("leapfrog", "whfast")


def heartbeat(controller: Any, *, epsilon: float = 1e-9, then: Callable[[Any], None] | None = None) -> Heartbeat:
    """The heartbeat that sets the steps of one `rebound.Simulation`.

    controller  a criterion ("amuse", "aarseth", "ias15"), a law of the error (with ias15 only), or a learned controller
                on one of them.
    epsilon     the tolerance of ias15's error; REBOUND's default.
    then        a heartbeat of your own, called with the simulation after every accepted step.

    Raises ImportError where REBOUND is missing.
    """
    library("rebound", "5.2", "6")
    if then is not None and not callable(then):
        raise options.refuse("then", "a function of the simulation or None", then)
    return Heartbeat(controller, options.positive("epsilon", epsilon), then)


class StepFailed(RuntimeError):
    """A simulation could not go on; the message says why."""


class Heartbeat:
    """A controller at work in one simulation.

    naccept, nreject, nfallback  counts of steps; nfallback, of those that the base law decided for a learned one.
    failure                      why the simulation was stopped, or None.
    """

    def __init__(self, controller: Any, epsilon: float, then: Callable[[Any], None] | None) -> None:
        self.controller, self.epsilon, self.then = controller, epsilon, then
        self.naccept = self.nreject = self.nfallback = 0
        self.failure: str | None = None
        self._slots: frozenset[int] = frozenset()
        self._asked: Decisions | None = None
        self._sim: Any = None

    def attach(self, sim: Any) -> Heartbeat:
        """Steer `sim`, a `rebound.Simulation` with its integrator chosen and its bodies added; returns itself.

        Raises ValueError for an integrator that is not listed above, for a controller that reads what it does not show,
        and for whfast without safe_mode.
        """
        name = str(sim.integrator)
        if name not in SLOTS:
            raise ValueError(f"REBOUND's integrator must be one of {', '.join(SLOTS)}, got {shown(name)}")
        fit(self.controller, f"REBOUND's {name}", SLOTS[name])
        if name == "whfast" and not sim.integrator.safe_mode:
            raise ValueError("whfast must have safe_mode = 1 under a controller: its state is whole only then")
        if name in SYMPLECTIC:
            warnings.warn(
                f"{name} is symplectic for a constant step only: under controller {shown(self.controller.name)} the "
                "error of the energy grows with time. Use ias15, or a constant sim.dt",
                stacklevel=2,
            )
        if name == "ias15":
            sim.integrator.epsilon = 0.0
        if self._sim is not None and self._sim is not sim:
            raise ValueError("a heartbeat steers one simulation: make another one, controller.for_rebound()")
        if not sim.N:
            raise ValueError("the simulation has no bodies yet: add them before a controller is attached")
        if sim.N_var:
            raise ValueError(VARIATIONS)
        if sim._heartbeat and not ours(sim):
            raise ValueError("the simulation has a heartbeat already: hand it over, for_rebound(then=my_heartbeat)")
        self._asked, self._slots = Decisions(self.controller), slots_read(self.controller)
        self.name, self.failure = name, None
        self._sim = sim
        self._finite_at(sim)
        self._begin(sim)
        sim.heartbeat = self._beat
        _OURS[id(sim._hb)] = sim._hb
        return self

    def detach(self) -> None:
        """Leave the simulation to itself: REBOUND's own choice of steps, with ias15 at this heartbeat's epsilon."""
        if self._sim is None:
            return
        if self.name == "ias15":
            self._sim.integrator.epsilon = self.epsilon
        self._sim.heartbeat = _nothing
        _OURS[id(self._sim._hb)] = self._sim._hb
        self._sim = None

    def integrate(self, sim: Any, tmax: float, **options: Any) -> None:
        """`sim.integrate(tmax, ...)`, with `StepFailed` where the simulation was stopped before `tmax`."""
        sim.integrate(tmax, **options)
        if self.failure is not None:
            raise StepFailed(self.failure)

    # -- what happens at a beat ----------------------------------------------------------------------------------------

    def _finite_at(self, sim: Any) -> None:
        if not np.isfinite(np.concatenate(state(sim))).all():
            raise ValueError("positions or velocities of the simulation are not finite")

    def _begin(self, sim: Any) -> None:
        """The first size: the controller's own where it has one, else the simulation's `dt`."""
        self._sign, size = math.copysign(1.0, sim.dt), abs(sim.dt)
        seen = self._seen(sim, size, size, first=True)
        first = getattr(self.controller, "first", None)
        if first is not None:
            record = [np.float64(seen.get(slot, math.nan)) for slot in range(rec.N_RECORD)]
            own = float(first(self.controller.params, [0.0] * self.controller.n_state, record))
            size = own if own > 0.0 and math.isfinite(own) else size
        self._keep(sim, size)
        sim.dt = self._sign * size

    def _keep(self, sim: Any, want: float) -> None:
        self._t, self._state, self._want, self._steps = sim.t, state(sim), want, sim.steps_done

    def _beat(self, pointer: Any) -> None:
        """What REBOUND calls.  An exception here would only be printed, and the simulation would go on without end."""
        sim = pointer.contents
        try:
            self._steer(sim, pointer)
        except Exception as problem:
            self._stop(sim, f"{type(problem).__name__} in the heartbeat: {problem}")

    def _stop(self, sim: Any, why: str) -> None:
        self.failure = why
        sim.stop()
        with contextlib.suppress(RuntimeWarning):  # where warnings are errors: C calls this, and cannot raise
            warnings.warn(why, RuntimeWarning, stacklevel=2)

    def _steer(self, sim: Any, pointer: Any) -> None:
        if self.failure is not None:  # the person has called `integrate` again
            self._stop(sim, self.failure)
            return
        if sim.N_var:
            self._stop(sim, VARIATIONS)
            return
        if sim.steps_done == self._steps:
            # a call of `integrate` begins: what the person has changed since the last step is the new start
            self._sign = math.copysign(1.0, sim.dt)
            self._keep(sim, self._want)
            sim.dt = self._sign * self._want
            return
        assert self._asked is not None
        size = abs(sim.dt_last_done)
        if len(self._state[0]) != 3 * sim.N:  # bodies merged, or left: this step cannot be taken back
            self.naccept += 1
            self._keep(sim, size)
            sim.dt = self._sign * size
            return
        out = self._asked(self._seen(sim, size, self._want))
        accept, factor = out[ACCEPT] > 0.5, math.exp(min(out[LOG_FACTOR], 700.0))
        cut = size < self._want * (1.0 - 1e-12)
        self.nfallback += bool(out[FALLBACK] > 0.5)
        want = (self._want if accept and cut else size) * factor
        if accept:
            self.naccept += 1
        else:
            self.nreject += 1
            put_back(sim, self._t, self._state)
        if not sim.t + self._sign * want != sim.t:
            self._stop(
                sim,
                f"the step size fell to {want:.3g} at t = {sim.t:.9g}, which the time no longer resolves: the last "
                "steps were rejected, or their state was not finite",
            )
            return
        if accept and self.then is not None:
            self.then(pointer)
        self._keep(sim, want)
        sim.dt = self._sign * want

    def _seen(self, sim: Any, size: float, want: float, first: bool = False) -> dict[int, float]:
        """The slots of the record that this integrator fills."""
        finite = bool(np.isfinite(np.concatenate(state(sim))).all())
        seen = {
            rec.H: size, rec.H_FREE: want, rec.TRUNCATED: float(size < want * (1.0 - 1e-12)), rec.FINITE: float(finite),
        }  # fmt: skip
        if finite and self._slots & TIMES:
            seen |= timescales(sim)
        if self.name == "ias15" and not first:
            seen |= {rec.ERR: error_of_ias15(sim) / self.epsilon, rec.ORDER: 7.0, rec.RTOL: self.epsilon}
        return seen


def state(sim: Any) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities, two arrays (3 N,)."""
    x, v = np.zeros((sim.N, 3)), np.zeros((sim.N, 3))
    sim.serialize_particle_data(xyz=x, vxvyvz=v)
    return x.ravel(), v.ravel()


def put_back(sim: Any, t: float, before: tuple[np.ndarray, np.ndarray]) -> None:
    """Put the simulation to time `t` and the state `before`."""
    x, v = (part.reshape(-1, 3).copy() for part in before)
    sim.set_serialized_particle_data(xyz=x, vxvyvz=v)
    sim.t = t
    sim.did_modify_particles = 1


def error_of_ias15(sim: Any) -> float:
    """The largest |b_6| over the largest acceleration: Rein and Spiegel (2015), equations 8 and 9, over all bodies.

    REBOUND keeps the coefficients of the last step in `br`, seven rows of 3 N numbers.
    """
    size, fields = 3 * sim.N, sim.integrator.callbacks.field_descriptor_list

    def rows(name: str, count: int) -> np.ndarray:
        place = sim.integrator.state + fields.field_descriptor_for_name(name).offset
        start = ctypes.c_void_p.from_address(place).value
        assert start is not None  # there has been a step
        return np.ctypeslib.as_array((ctypes.c_double * (count * size)).from_address(start)).reshape(count, size)

    top = float(np.max(np.abs(rows("at", 1))))
    return float(np.max(np.abs(rows("br", 7)[6]))) / top if top > 0.0 else 0.0


def timescales(sim: Any) -> dict[int, float]:
    """The record's time scales with the constants equal to 1, from the state of the simulation.

    With a, j, s, c the acceleration of a body and its first three derivatives, exact for Newton's gravity:

        TAU_AMUSE    tau^-2 = max over pairs of {u^2/r^2, G (m_i + m_j)/r^3}
        TAU_AARSETH  tau^2 = min over bodies of (|a||s| + |j|^2)/(|j||c| + |s|^2)
        TAU_PRS      tau^2 = min over bodies of 2 |a|^2/(|j|^2 + |a||s|)     (Pham, Rein and Spiegel 2024)
    """
    x, v = (part.reshape(-1, 3) for part in state(sim))
    m = np.array([particle.m for particle in sim.particles])
    if sim.testparticle_type == 0 and 0 <= sim.N_active < len(m):
        m[sim.N_active :] = 0.0  # test particles, which pull nobody
    with np.errstate(all="ignore"):
        a, j, s, c, rate = derivatives(x, v, m, sim.G, sim.softening)
        aa, jj, ss, cc = (np.linalg.norm(q, axis=1) for q in (a, j, s, c))
        aarseth = (aa * ss + jj**2) / (jj * cc + ss**2)
        prs = 2.0 * aa**2 / (jj**2 + aa * ss)
    return {
        rec.TAU_AMUSE: float(1.0 / math.sqrt(rate)) if rate > 0.0 else math.inf,
        rec.TAU_AARSETH: float(np.sqrt(np.nanmin(np.append(aarseth, np.inf)))),
        rec.TAU_PRS: float(np.sqrt(np.nanmin(np.append(prs, np.inf)))),
    }


def derivatives(
    x: np.ndarray, v: np.ndarray, m: np.ndarray, G: float, softening: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Acceleration, jerk, snap and crackle of every body, (N, 3) each, and AMUSE's largest rate.

    K. Nitadori and J. Makino, New Astronomy 13 (2008) 498, equations 1 to 9.
    """
    d, u = x[None] - x[:, None], v[None] - v[:, None]
    r2 = np.sum(d * d, axis=2) + softening**2
    np.fill_diagonal(r2, np.inf)
    w = G * m[None] / r2**1.5
    alpha = (np.sum(d * u, axis=2) / r2)[..., None]
    A = w[..., None] * d
    J = w[..., None] * u - 3.0 * alpha * A
    a, j = A.sum(axis=1), J.sum(axis=1)
    da, dj = a[None] - a[:, None], j[None] - j[:, None]
    beta = ((np.sum(u * u, axis=2) + np.sum(d * da, axis=2)) / r2)[..., None] + alpha**2
    S = w[..., None] * da - 6.0 * alpha * J - 3.0 * beta * A
    gamma = ((3.0 * np.sum(u * da, axis=2) + np.sum(d * dj, axis=2)) / r2)[..., None] + alpha * (
        3.0 * beta - 4.0 * alpha**2
    )
    C = w[..., None] * dj - 9.0 * alpha * S - 9.0 * beta * J - 3.0 * gamma * A
    rate = max(np.max(np.sum(u * u, axis=2) / r2), np.max(G * (m[None] + m[:, None]) / r2**1.5))
    return a, j, S.sum(axis=1), C.sum(axis=1), float(rate)
