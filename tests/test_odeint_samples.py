"""Samples that go their own ways, after torchode's tests of its solver loop: scripted sizes and decisions."""

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR, N_HEAD, Lane
from torch_fields import F64

odeint = ss.neural.odeint


class Scripted:
    """Accepts as `accept` says, attempt by attempt and for every sample, and then goes on with the sizes `next`."""

    name, n_state, params, slots, key = "scripted", N_HEAD, np.zeros(1), frozenset({R.H_FREE}), ("scripted",)

    def __init__(self, following, accept=None):
        self.seen = []

        def decide(params, state, record, out):
            attempt = len(self.seen)
            self.seen.append(np.copy(record[R.H_FREE]))
            scripted = accept is not None and attempt < len(accept)
            out[ACCEPT] = np.array(accept[attempt], float) if scripted else 1.0 + 0.0 * record[R.H]
            out[LOG_FACTOR] = np.log(np.array(following) / record[R.H])

        self.phases = (Lane(decide),)


def cubic(t, y):
    """y = t^3, which tsit5 and its dense output follow to round-off."""
    return 3.0 * t**2 + 0.0 * y


def solve(columns, first, controller, func=cubic, **options):
    t = torch.tensor(columns, dtype=F64).T
    y0 = (t[0] ** 3)[:, None]
    first = np.broadcast_to(np.array(first, dtype=float), (len(y0),)).copy()
    sol = odeint(func, y0, t, controller=controller, first_step=first, **options)
    if sol.success:
        torch.testing.assert_close(sol.y[:, :, 0], t**3, rtol=1e-12, atol=1e-12)
    return sol


ROUTES = [{}, {"adjoint": "none"}, {"checkpoint_every": 2}, {"adjoint": "interpolating", "adjoint_params": ()}]


@pytest.mark.parametrize("options", ROUTES)
def test_samples_step_independently(options):
    sol = solve([[0.0, 0.15, 1.0], [1.0, 1.9, 2.0]], [0.1, 0.3], Scripted([0.5, 0.125]), **options)
    assert sol.stats.naccept_per_sample.tolist() == [3, 7] and sol.stats.nreject == 0


@pytest.mark.parametrize("options", ROUTES)
def test_several_outputs_in_one_step_and_in_the_last(options):
    sol = solve([[0.0, 0.25, 0.33, 1.0]], 0.1, Scripted(0.5), **options)
    assert sol.stats.naccept_per_sample.tolist() == [3]
    columns = [[0.0, 0.2, 0.9, 1.0], [0.0, 0.9, 0.95, 1.0], [0.5, 0.8, 0.9, 1.0]]
    sol = solve(columns, [1.1, 1.1, 0.3], Scripted(0.6), **options)
    assert sol.stats.naccept_per_sample.tolist() == [1, 1, 2]


def test_a_sample_out_of_steps_ends_alone():
    sol = solve([[1.0, 2.0, 4.9], [2.0, 3.0, 13.0]], 1.0, Scripted(1.0), max_steps=7)
    assert sol.status[0] == 1 and sol.status[1] < 0 and sol.stats.naccept_per_sample.tolist() == [4, 7]
    assert sol.y[-1, 0].isfinite() and sol.y[1, 1].isfinite() and sol.y[-1, 1].isnan() and sol.t_last[1] == 9.0


def test_rejected_steps_go_on_at_the_same_place():
    controller = Scripted(0.5, accept=[[1, 1], [1, 0], [1, 0]])
    sol = solve([[0.0, 1.0], [1.0, 2.0]], 0.1, controller)
    np.testing.assert_allclose(sol.heuristics.t[:3].T, [[0.0, 0.1, 0.6], [1.0, 1.1, 1.6]], rtol=0, atol=1e-12)
    assert sol.stats.naccept_per_sample.tolist() == [3, 3] and sol.stats.nreject_per_sample.tolist() == [0, 2]


def test_an_output_is_taken_from_the_accepted_step_alone():
    """The first two attempts of the first sample end beyond its output and are rejected."""
    calls = []

    def func(t, y):
        calls.append(t)
        # what the rejected attempts see is another field
        return 3.0 * t**2 + (1e3 if 1 < len(calls) <= 13 else 0.0) * torch.tensor([[1.0], [0.0], [0.0]], dtype=F64)

    controller = Scripted([1.1, 1.1, 0.5], accept=[[0, 1, 1], [0, 1, 1]])
    sol = solve([[0.0, 0.6, 1.0]] * 3, [1.1, 1.1, 0.55], controller, func, adjoint="none")
    assert sol.stats.nreject_per_sample.tolist() == [2, 0, 0] and sol.stats.naccept_per_sample.tolist() == [1, 1, 2]


def test_a_rejected_first_step_keeps_the_output_at_the_start():
    y0 = torch.tensor([[1.3], [2.5]], dtype=F64)
    t = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=F64)
    controller = Scripted(0.6, accept=[[0, 0]])
    sol = odeint(lambda t, y: torch.zeros_like(y), y0, t, controller=controller, first_step=0.6)
    assert torch.equal(sol.y, y0.expand(2, 2, 1)) and sol.stats.naccept_per_sample.tolist() == [2, 4]


@pytest.mark.parametrize("method", ["dopri5", "dop853", "dopri8", "fehlberg2"])
def test_func_is_asked_within_each_samples_span_alone(method):
    """Without FSAL a replay evaluates the rows of samples that are done at another sample's state and time."""
    seen, adjoint = [], "none" if method == "fehlberg2" else "discrete"

    def func(t, y):
        seen.append(t[:, 0].clone())
        return 3.0 * t**2 + 0.0 * y

    t = torch.tensor([[0.1, 1.0, 1.0], [1.0, 2.0, 0.95]], dtype=F64)
    options = {"first_step": [0.1, 0.4, 0.02], "rtol": 1e-2, "atol": 1e-2, "adjoint": adjoint}
    sol = odeint(func, torch.ones(3, 1, dtype=F64), t, method, **options)
    times = torch.stack(seen)
    assert sol.success and (times >= t.amin(0) - 1e-15).all() and (times <= t.amax(0) + 1e-15).all()


def test_going_back_leads_back_and_opposite_directions_do_not_mix():
    t = torch.tensor([[0.3, 2.0], [2.0, 0.5], [6.3, -8.0]], dtype=F64)
    y0 = torch.tensor([[1.0, -0.5], [9.0, 2.0]], dtype=F64)
    func = lambda t, y: torch.sin(3 * t) - 0.3 * y * torch.cos(t)  # noqa: E731
    there = odeint(func, y0, t, rtol=1e-9, atol=1e-9)
    back = odeint(func, there.y[-1], t.flip(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(back.y[-1], y0, rtol=1e-5, atol=1e-6)
    straight = odeint(lambda t, y: 2 * torch.ones_like(y), y0, t)
    torch.testing.assert_close(straight.y, y0 + 2 * (t - t[0])[:, :, None], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kinds", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_times_and_states_of_different_dtypes(kinds):
    time, data = kinds
    t = torch.tensor([[0.0], [1.77], [3.0]], dtype=time)
    asked = set()

    def func(t, y):
        asked.add((t.dtype, y.dtype))
        return -y

    sol = odeint(func, torch.tensor([[0.33, 1.2]], dtype=data), t, rtol=1e-5, atol=1e-6)
    # the solution's times are as given, and func gets its t in y's dtype, as in torchdiffeq
    assert sol.t.dtype == time and sol.y.dtype == data and asked == {(data, data)}
