"""REBOUND as a host: its own rules for steps, run as controllers, give its own steps."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import rebound

import stepsmith as ss
from stepsmith.controllers.hosts import rebound as host
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core import record as rec


def planets(integrator="ias15", eccentricity=0.8):
    sim = rebound.Simulation()
    sim.add(m=1.0)
    sim.add(m=1e-3, a=1.0, e=eccentricity)
    sim.add(m=1e-4, a=3.5, e=0.3, inc=0.2)
    sim.move_to_com()
    sim.integrator, sim.dt = integrator, 1e-3
    return sim


#: Rein and Spiegel's rule for the step: no safety factor, a step is repeated where the next would be a quarter of it
GLOBAL = {"safety": 1.0, "fmin": 1e-3, "fmax": 4.0, "accept_factor": 0.25, "accept_err": 1e9}


def test_rebounds_global_rule_is_a_law():
    theirs, ours = planets(), planets()
    theirs.integrator.adaptive_mode = "GLOBAL"
    beat = registry.get("i", **GLOBAL).for_rebound().attach(ours)
    theirs.integrate(20.0), beat.integrate(ours, 20.0)
    assert beat.naccept == theirs.steps_done > 500 and ours.t == theirs.t == 20.0
    assert np.concatenate(host.state(ours)) == pytest.approx(np.concatenate(host.state(theirs)), abs=1e-12)


def test_pham_rein_and_spiegels_criterion():
    """REBOUND computes the derivatives from its polynomial, here they are exact: the steps agree to a few per cent."""
    theirs, ours = planets(), planets()
    theirs.integrate(20.0)
    beat = ss.controller("ias15").for_rebound().attach(ours)
    ours.integrate(20.0)
    assert beat.naccept == pytest.approx(theirs.steps_done, rel=0.05) and beat.failure is None
    assert np.concatenate(host.state(ours)) == pytest.approx(np.concatenate(host.state(theirs)), abs=1e-11)


def test_derivatives_of_the_acceleration():
    """By central differences of order 4 along the orbit, which REBOUND makes."""
    gap, found = 1e-3, []
    for k in (-2, -1, 0, 1, 2):
        sim = planets(eccentricity=0.3)
        sim.integrate(k * gap)
        x, v = (part.reshape(-1, 3) for part in host.state(sim))
        masses = np.array([p.m for p in sim.particles])
        found.append((v, *host.derivatives(x, v, masses, sim.G, 0.0)))
    middle = found[2]
    for i in range(4):
        slope = (found[0][i] - 8.0 * found[1][i] + 8.0 * found[3][i] - found[4][i]) / (12.0 * gap)
        assert slope == pytest.approx(middle[i + 1], rel=1e-6, abs=1e-6 * np.abs(middle[i + 1]).max())


def test_time_scales_of_a_circular_orbit_agree():
    """Two bodies on a circle: every criterion with the constant 1 is one radian of the orbit."""
    sim = rebound.Simulation()
    sim.add(m=1.0), sim.add(m=0.5, a=2.0)
    sim.move_to_com()
    found = host.timescales(sim)
    radian = math.sqrt(2.0**3 / 1.5)
    assert [found[slot] for slot in (rec.TAU_AMUSE, rec.TAU_AARSETH, rec.TAU_PRS)] == pytest.approx([radian] * 3)
    softened = rebound.Simulation()
    softened.add(m=1.0), softened.add(m=0.5, a=2.0)
    softened.softening = 1.0
    assert host.timescales(softened)[rec.TAU_AMUSE] > radian


@pytest.mark.parametrize("name", ["amuse", "aarseth"])
def test_criteria_keep_the_energy_on_eccentric_orbits(name):
    sim = planets()
    before = sim.energy()
    ss.controller(name).for_rebound().attach(sim)
    sim.integrate(20.0)
    assert abs(sim.energy() / before - 1.0) < 1e-13


def test_rejected_steps_are_taken_back():
    """The first size is far too large: without rejections the solve would be wrong."""
    theirs, ours = planets(), planets()
    theirs.integrate(5.0)
    ours.dt = 2.0
    beat = registry.get("i", accept_err=1.0).for_rebound().attach(ours)
    beat.integrate(ours, 5.0)
    assert beat.nreject > 0 and np.concatenate(host.state(ours)) == pytest.approx(
        np.concatenate(host.state(theirs)), abs=1e-10
    )


def test_leapfrog_warns_and_is_better_than_its_constant_step():
    sim = planets("leapfrog")
    with pytest.warns(UserWarning, match="leapfrog is symplectic for a constant step only.*'aarseth'"):
        beat = ss.controller("aarseth").for_rebound().attach(sim)
    before = sim.energy()
    sim.integrate(5.0)
    plain = planets("leapfrog")
    plain.dt = 5.0 / beat.naccept
    plain.integrate(5.0)
    assert abs(sim.energy() - before) < 0.5 * abs(plain.energy() - before)


def test_backwards_a_heartbeat_of_ones_own_and_many_calls():
    seen = []
    sim = planets()
    beat = ss.controller("ias15").for_rebound(then=lambda pointer: seen.append(pointer.contents.t)).attach(sim)
    start = np.concatenate(host.state(sim))
    for t in (1.0, 2.0, 3.0, 1.5, 0.0):
        sim.dt = math.copysign(sim.dt, t - sim.t)
        sim.integrate(t)
        assert sim.t == t
    assert np.concatenate(host.state(sim)) == pytest.approx(start, abs=1e-11)
    assert len(seen) == beat.naccept and {1.0, 2.0, 3.0, 1.5, 0.0} <= set(seen)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="must be one of ias15, leapfrog, whfast, got 'mercurius'"):
        ss.controller("ias15").for_rebound().attach(planets("mercurius"))
    with pytest.raises(ValueError, match="REBOUND's leapfrog cannot run controller 'pi34': it decides from err, order"):
        ss.controller("pi34").for_rebound().attach(planets("leapfrog"))
    with pytest.raises(ValueError, match="time_left"):
        ss.controller("lorenz96").for_rebound().attach(planets())
    with pytest.raises(ValueError, match="no bodies"):
        empty = rebound.Simulation()
        empty.integrator = "ias15"
        ss.controller("ias15").for_rebound().attach(empty)
    with pytest.raises(ValueError, match="then must be"):
        ss.controller("ias15").for_rebound(then=3)
    with pytest.raises(ValueError, match="epsilon"):
        ss.controller("pi34").for_rebound(epsilon=0.0)
    sim = planets("whfast")
    sim.integrator.safe_mode = 0
    with pytest.raises(ValueError, match="safe_mode"):
        ss.controller("aarseth").for_rebound().attach(sim)
    sim = planets()
    sim.particles[1].x = math.nan
    with pytest.raises(ValueError, match="not finite"):
        ss.controller("ias15").for_rebound().attach(sim)


def test_a_collision_ends_with_a_message():
    """Two bodies that fall into each other: the step underflows, and the simulation stops."""
    sim = rebound.Simulation()
    sim.add(m=1.0), sim.add(m=1.0, x=1.0)
    sim.integrator, sim.dt = "ias15", 1e-3
    beat = ss.controller("ias15").for_rebound().attach(sim)
    with warnings.catch_warnings(), pytest.raises(host.StepFailed, match="no longer resolves"):
        warnings.simplefilter("ignore")
        beat.integrate(sim, 10.0)
    assert sim.t == pytest.approx(math.pi / 4.0, abs=1e-3)  # free fall of two unit masses from rest at distance 1
    steps = beat.naccept
    with pytest.warns(RuntimeWarning, match="no longer resolves"):  # and does not go on uncontrolled
        sim.integrate(12.0)
    assert sim.t == pytest.approx(math.pi / 4.0, abs=1e-3) and beat.naccept == steps


def test_a_heartbeat_of_ones_own_is_not_replaced():
    sim = planets()
    sim.heartbeat = lambda pointer: None
    with pytest.raises(ValueError, match="for_rebound\\(then=my_heartbeat\\)"):
        ss.controller("ias15").for_rebound().attach(sim)


def test_what_a_person_changes_between_two_calls_stays():
    """A kick, another body and another clock, each followed by rejected steps."""
    law = registry.get("i", accept_err=1.0)
    ours, beat = planets(), law.for_rebound()
    beat.attach(ours)
    ours.integrate(3.0)
    for axis in "xyz":
        setattr(ours.particles[1], axis, 0.2 * getattr(ours.particles[1], axis))
        setattr(ours.particles[1], f"v{axis}", 0.1 * getattr(ours.particles[1], f"v{axis}"))
    kicked, rejected = ours.energy(), beat.nreject
    ours.integrate(3.05)
    assert beat.nreject > rejected and ours.energy() == pytest.approx(kicked, rel=1e-9) and beat.failure is None
    ours.add(m=1e-5, a=6.0)
    energy = ours.energy()
    ours.integrate(4.0)
    assert ours.t == 4.0 and ours.energy() == pytest.approx(energy, rel=1e-9) and beat.failure is None
    ours.t = 100.0
    ours.integrate(101.0)
    assert ours.t == 101.0 and ours.energy() == pytest.approx(energy, rel=1e-9) and beat.naccept < 3000


def test_a_kick_in_ones_own_heartbeat_stays():
    def kick(pointer):
        sim = pointer.contents
        if not done and sim.t > 1.0:
            done.append(sim.t)
            for axis in "xyz":
                setattr(sim.particles[1], axis, 0.2 * getattr(sim.particles[1], axis))
            done.append(sim.energy())

    done, sim = [], planets()
    beat = registry.get("i", accept_err=1.0).for_rebound(then=kick).attach(sim)
    beat.integrate(sim, 1.5)
    assert beat.nreject > 0 and sim.energy() == pytest.approx(done[1], rel=1e-9)


def test_variations_second_simulations_and_detaching():
    sim = planets()
    sim.add_variation()
    with pytest.raises(ValueError, match="variational particles and MEGNO"):
        ss.controller("ias15").for_rebound().attach(sim)
    one, other = planets(), planets()
    beat = ss.controller("ias15").for_rebound().attach(one)
    with pytest.raises(ValueError, match="one simulation"):
        beat.attach(other)
    one.integrate(1.0)
    beat.detach()
    assert one.integrator.epsilon == 1e-9
    steps = beat.naccept
    one.integrate(2.0)
    assert one.t == 2.0 and beat.naccept == steps
    beat.attach(other)
    other.integrate(1.0)
    assert other.t == 1.0 and beat.failure is None


def test_a_body_that_is_heavy_and_pulls_nobody():
    scales = []
    for mass in (0.0, 5.0):
        sim = planets()
        sim.add(m=mass, a=2.0)
        sim.N_active = 3
        scales.append(host.timescales(sim))
    assert scales[0] == scales[1]
