"""Controllers inside the torch solver: one formula in three array forms, networks as phases, and the compiled engine's
own records.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from method_kinds import EXPLICIT
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR, N_HEAD, Dense, Lane, bind
from stepsmith.integrators.core.namespaces import NUMPY
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.neural import odeint
from stepsmith.integrators.problems.problem import Problem

torch.set_num_threads(1)
exp, maximum, minimum, where = (NUMPY[name] for name in ("exp", "maximum", "minimum", "where"))
LAWS = [
    "i",
    "pi34",
    "dopri5_pi",
    "sundials_pid",
    "pc11",
    "h211b",
    "h312pid",
    "predictive",
    "scipy",
    "arkode",
    "petsc_dsp",
]


def attempts(lanes, n, seed=0):
    """Records of `n` attempts: wide errors, some zero, NaN, infinite, truncated."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        row = np.full((rec.N_RECORD, lanes), np.nan)
        row[rec.ERR] = np.exp(rng.normal(-1, 2, lanes))
        row[rec.ERR, rng.random(lanes) < 0.05] = 0.0
        row[rec.ERR, rng.random(lanes) < 0.05] = np.nan
        row[rec.ERR, rng.random(lanes) < 0.05] = np.inf
        row[rec.H] = row[rec.H_FREE] = np.exp(rng.normal(-3, 1, lanes))
        row[rec.ORDER], row[rec.NF], row[rec.RTOL] = 5.0, 6.0, 1e-6
        row[rec.T_LEFT] = 1.0
        row[rec.TRUNCATED] = rng.random(lanes) < 0.1
        row[rec.FINITE] = np.isfinite(row[rec.ERR])
        yield row


@pytest.mark.parametrize("name", LAWS)
def test_numpy_torch_and_one_lane_decide_as_the_contract_does(name):
    law, lanes = registry.get(name), 40
    array, tensor = Runner(law, lanes), Runner(law, lanes, "torch")
    single = [Runner(law, 1) for _ in range(lanes)]
    formula = bind(law.phases[0].fn, NUMPY)
    state, out = np.zeros((law.n_state, lanes)), np.zeros((4, lanes))
    law.init(law.params, state)
    for row in attempts(lanes, 30):
        with np.errstate(all="ignore"):
            formula(law.params, state, row, out)
        a = np.array(array.decide(list(row)))
        b = torch.stack(tensor.decide(list(torch.from_numpy(row)))).numpy()
        c = np.array([one.decide([r[l : l + 1] for r in row]) for l, one in enumerate(single)])[:, :, 0].T
        for got in (a, b, c):
            np.testing.assert_allclose(got, out, rtol=1e-13, atol=1e-14)


def _network(hidden=6, seed=0):
    """A learned controller in miniature: features, two layers, residual on the I law; params = weights."""
    rng = np.random.default_rng(seed)
    sizes = [(2, hidden), (hidden, 1)]
    params = np.concatenate([rng.normal(size=n * m + m) for n, m in sizes])
    feat, mid, top = N_HEAD, N_HEAD + 2, N_HEAD + 2 + hidden

    def features(params, state, record, out):
        state[6] = minimum(maximum(record[0], 0.0), 5.0)
        state[7] = exp(-record[1])

    def apply(params, state, record, out):
        good = record[0] <= 1.0
        out[0] = where(good, 1.0, 0.0)
        out[1] = where(good, 0.3, -0.7) + 0.1 * state[14]
        out[2] = 0.0
        out[3] = where(state[14] > 0.0, 1.0, 0.0)

    phases = (
        Lane(features),
        Dense(feat, mid, 2, hidden, 0, "tanh"),
        Dense(mid, top, hidden, 1, 3 * hidden, "tanh"),
        Lane(apply),
    )
    return SimpleNamespace(params=params, n_state=top + 1, phases=phases)


def test_dense_phases():
    c = _network()
    w1, b1 = c.params[:12].reshape(6, 2), c.params[12:18]
    w2, b2 = c.params[18:24].reshape(1, 6), c.params[24:25]
    for xp, lanes in (("numpy", 7), ("torch", 7), ("numpy", 1)):
        err, h = np.linspace(0.1, 2, lanes), np.linspace(0.01, 1, lanes)
        record = [np.full(lanes, np.nan) for _ in range(rec.N_RECORD)]
        record[rec.ERR], record[rec.H] = err, h
        if xp == "torch":
            record = [torch.from_numpy(r) for r in record]
        out = [np.asarray(x) for x in Runner(c, lanes, xp).decide(record)]
        net = np.tanh(w2 @ np.tanh(w1 @ np.stack([np.minimum(err, 5), np.exp(-h)]) + b1[:, None]) + b2[:, None])[0]
        np.testing.assert_allclose(out[LOG_FACTOR], np.where(err <= 1, 0.3, -0.7) + 0.1 * net, rtol=1e-13)
        np.testing.assert_array_equal(out[ACCEPT], err <= 1)
        np.testing.assert_array_equal(out[FALLBACK], net > 0)


def test_a_network_drives_a_solve_and_its_fallbacks_are_counted():
    y0 = torch.tensor([[1.0, 0.0], [0.2, 0.1]], dtype=torch.float64)
    sol = odeint(lambda t, y: torch.stack([y[:, 1], -y[:, 0]], 1), y0, torch.linspace(0, 3, 4), controller=_network())
    assert sol.success
    torch.testing.assert_close(sol.y[-1, 0], torch.tensor([np.cos(3.0), -np.sin(3.0)]), rtol=0, atol=1e-4)
    per = sol.stats.naccept_per_sample + sol.stats.nreject_per_sample
    assert ((0 <= sol.stats.nfallback_per_sample) & (sol.stats.nfallback_per_sample <= per)).all()
    assert sol.stats.nfallback == sol.stats.nfallback_per_sample.sum() > 0


def test_the_constant_step_begins_with_itself():
    y0 = torch.ones(2, 1, dtype=torch.float64)
    sol = odeint(lambda t, y: -y, y0, torch.tensor([0.0, 1.0]), controller=registry.get("constant", h=0.125))
    assert torch.equal(sol.heuristics.h, torch.full((8, 2), 0.125, dtype=torch.float64))
    given = odeint(
        lambda t, y: -y, y0, torch.tensor([0.0, 1.0]), controller=registry.get("constant", h=0.125), first_step=0.5
    )
    assert given.heuristics.h[:, 0].tolist() == [0.5] + 4 * [0.125]


@pytest.mark.parametrize("squash", ["clip", "tanh", "argmax"])
@pytest.mark.parametrize("law", ["pi34", "h211b"])
def test_learned_controllers_decide_alike_in_every_form(law, squash):
    rng, decision = np.random.default_rng(3), Decision(law=law)
    n_out = 5 if squash == "argmax" else 2
    layers = [
        (rng.normal(size=(8, decision.n_obs)), rng.normal(size=8), "tanh"),
        (rng.normal(size=(n_out, 8)), rng.normal(size=n_out), "linear"),
    ]
    table = rng.uniform(-1, 1, (5, 2)) if squash == "argmax" else None
    learned, lanes = Learned(decision, layers, squash, table), 30
    array, tensor = Runner(learned, lanes), Runner(learned, lanes, "torch")
    single = [Runner(learned, 1) for _ in range(lanes)]
    answers = []
    for row in attempts(lanes, 20):
        row[rec.HS] = row[rec.CURV] = row[rec.ENORM] = row[rec.YNORM] = 0.3
        a = np.array(array.decide(list(row)))
        b = torch.stack(tensor.decide(list(torch.from_numpy(row)))).numpy()
        c = np.array([one.decide([r[l : l + 1] for r in row]) for l, one in enumerate(single)])[:, :, 0].T
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(c, a, rtol=1e-11, atol=1e-12)
        answers.append(a[LOG_FACTOR])
    assert len(np.unique(np.round(answers, 3))) > 20


def _answering(value):
    def decide(params, state, record, out):
        out[0] = where(record[0] <= 1.0, 1.0, 0.0)
        out[1] = record[0] * 0.0 + params[0]
        out[3] = 0.0

    return SimpleNamespace(params=np.array([value]), n_state=N_HEAD, phases=(Lane(decide),))


def test_an_answer_that_is_not_a_number_ends_the_sample():
    y0 = torch.ones(2, 1, dtype=torch.float64)
    sol = odeint(lambda t, y: -y, y0, torch.tensor([0.0, 5.0]), controller=_answering(np.nan))
    assert not sol.success and (sol.status < 0).all() and sol.y[-1].isnan().all()


def test_a_controller_that_never_shrinks_runs_out_of_steps():
    y0 = torch.ones(2, 1, dtype=torch.float64)
    sol = odeint(
        lambda t, y: -y, y0, torch.tensor([0.0, 5.0]), controller=_answering(0.0), first_step=4.0, max_steps=30
    )
    assert not sol.success and sol.stats.nreject == 60 and sol.stats.naccept == 0
    assert torch.equal(sol.y_last, y0)


def test_controllers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="activation"):
        Runner(SimpleNamespace(params=np.zeros(2), n_state=8, phases=(Dense(6, 7, 1, 1, 0, "swish"),)), 3)
    with pytest.raises(TypeError, match="neither a formula"):
        Runner(SimpleNamespace(params=np.zeros(2), n_state=8, phases=("law",)), 3)
    with pytest.raises(ValueError, match="numpy"):
        Runner(registry.get("i"), 3, "jax")
    greedy = _network()
    greedy.needs = (rec.NEWTON_RATE, rec.HS)
    y0, t = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="newton_rate, which method 'tsit5'"):
        odeint(lambda t, y: -y, y0, t, controller=greedy)
    with pytest.raises(ValueError, match="hs, newton_rate, which method 'bs32'"):
        odeint(lambda t, y: -y, y0, t, "bs32", controller=greedy)


def vdp_compiled(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]


@pytest.mark.parametrize("method", EXPLICIT)
@pytest.mark.parametrize("span", [(0.0, 3.75), (4.0, 2.5)])
def test_records_are_those_of_the_compiled_engine(method, span):
    """Every slot of every attempt, rejected and truncated ones included, against `stepsmith.integrators.engine.solve`.
    """
    law, seen = registry.get("pi34"), []

    def spy(params, state, record, out):
        seen.append([float(r[0]) if np.ndim(r) else float(r) for r in record])

    spying = SimpleNamespace(
        params=law.params, n_state=law.n_state, phases=(Lane(spy), *law.phases), init=law.init,
        slots=frozenset({rec.HS, rec.CURV, rec.YNORM, rec.ENORM}),
    )  # fmt: skip

    def vdp(t, y):
        return torch.stack([y[:, 1], 5.0 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)

    y0 = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    sol = odeint(vdp, y0, torch.tensor(span), method, spying, rtol=1e-5, atol=1e-7, first_step=0.4, adjoint="none")
    problem = Problem(rhs=vdp_compiled, y0=[2.0, 0.0], t_span=span, p=[5.0])
    ref = solve(problem, method, law, rtol=1e-5, atol=1e-7, first_step=0.4, log=True)
    assert sol.stats.naccept == ref.stats.naccept and sol.stats.nreject == ref.stats.nreject > 0
    assert sol.stats.nfev == ref.stats.nfev
    ours, theirs = np.array(seen), ref.record[:, : rec.N_RECORD]
    assert ours.shape == theirs.shape
    for slot in range(rec.N_RECORD):
        np.testing.assert_allclose(ours[:, slot], theirs[:, slot], rtol=2e-6, atol=1e-7, err_msg=rec.NAMES[slot])
    np.testing.assert_allclose(sol.y[-1, 0], ref.y[-1], rtol=1e-9)


def test_a_learned_controller_takes_the_compiled_engines_steps():
    learned = Learned.random(Decision(law="pi34"), (8,), rng=1, scale=0.7)

    def vdp(t, y):
        return torch.stack([y[:, 1], 5.0 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)

    y0 = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    sol = odeint(vdp, y0, torch.tensor([0.0, 2.0]), "tsit5", learned, rtol=1e-5, atol=1e-7, adjoint="none")
    ref = solve(
        Problem(rhs=vdp_compiled, y0=[2.0, 0.0], t_span=(0.0, 2.0), p=[5.0]), "tsit5", learned, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(np.cumsum(sol.heuristics.h[:, 0].numpy()), ref.t[1:], rtol=1e-6)
    assert (sol.stats.naccept, sol.stats.nreject) == (ref.stats.naccept, ref.stats.nreject)
    law = solve(
        Problem(rhs=vdp_compiled, y0=[2.0, 0.0], t_span=(0.0, 2.0), p=[5.0]), "tsit5", registry.get("pi34"), 1e-5, 1e-7
    )
    assert law.stats.naccept != ref.stats.naccept


@pytest.mark.parametrize("method", EXPLICIT)
def test_the_automatic_first_step_is_the_compiled_engines(method):
    law = registry.get("pi34")

    def vdp(t, y):
        return torch.stack([y[:, 1], 5.0 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)

    sol = odeint(
        vdp, torch.tensor([[2.0, 0.1]], dtype=torch.float64), torch.tensor([0.0, 1.0]), method, law, adjoint="none"
    )
    ref = solve(Problem(rhs=vdp_compiled, y0=[2.0, 0.1], t_span=(0.0, 1.0), p=[5.0]), method, law, log=True)
    np.testing.assert_allclose(np.cumsum(sol.heuristics.h[:, 0].numpy()), ref.t[1:], rtol=1e-8)
    assert sol.stats.nfev == ref.stats.nfev
