"""Laws, decisions, learned controllers and modules that hold one: pickled, copied, sent to a spawned process, they
decide the same.
"""

import concurrent.futures
import copy
import io
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import N_OUT
from stepsmith.integrators.neural import strength

torch.set_num_threads(1)


def network():
    decision = Decision(
        law=registry.get("h211b").specialised(), shift=np.full(14, 0.5), scale=np.full(14, 2.0), obs_clip=5.0
    )
    return Learned.random(decision, (6,), 1, provenance={"method": "tsit5"}, measured={"ratio": 0.9})


def chooser():
    layers = [(np.linspace(-1, 1, 42).reshape(3, 14), np.zeros(3), "linear")]
    return Learned(Decision(law="i", n_act=1), layers, "argmax", [-1.0, 0.0, 1.0])


CONTROLLERS = {
    "law": lambda: registry.get("pi34", safety=0.8), "general": lambda: registry.get("predictive").general(),
    "specialised": lambda: registry.get("pi42").specialised(), "amuse": lambda: registry.get("amuse"),
    "aarseth": lambda: registry.get("aarseth"), "ias15": lambda: registry.get("ias15"),
    "constant": lambda: registry.get("constant", h=0.1), "tuned": lambda: ss.controller("tuned", "lorenz"),
    "decision": lambda: Decision(law="pi34", n_act=4), "learned": network, "chooser": chooser,
    "zoo": lambda: ss.load_controller("stiff"),
}  # fmt: skip


def decisions(controller):
    """Answers on a fixed sequence of records, from the phases themselves."""
    rng = np.random.default_rng(0)
    params, state, answers = controller.params, np.ones(controller.n_state), []
    controller.init(params, state)
    for _ in range(30):
        record = 10.0 ** rng.uniform(-3, 1, R.N_RECORD)
        record[[R.TRUNCATED, R.FINITE, R.ORDER]] = 0.0, 1.0, 5.0
        out = np.zeros(N_OUT)
        for phase in controller.phases:
            if hasattr(phase, "fn"):
                phase.fn(params, state, record, out)
            else:
                mid = phase.offset + phase.n_in * phase.n_out
                z = params[phase.offset : mid].reshape(phase.n_out, -1) @ state[phase.src : phase.src + phase.n_in]
                z = z + params[mid : mid + phase.n_out]
                state[phase.dst : phase.dst + phase.n_out] = np.maximum(z, 0.0) if phase.activation == "relu" else z
        answers.append(out)
    return np.array(answers)


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[-0.1, 2.0], [-2.0, -0.1]]))

    def forward(self, t, y):
        return (y**3) @ self.weight


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("way", [through_pickle, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_copies_decide_the_same(name, way):
    controller = CONTROLLERS[name]()
    twin = way(controller)
    # key and known say which kernel serves it, the parameters what it computes
    assert twin.key == controller.key and getattr(twin, "known", ()) == getattr(controller, "known", ())
    assert twin.params.tobytes() == controller.params.tobytes() and twin.name == controller.name
    np.testing.assert_array_equal(decisions(twin), decisions(controller))
    assert repr(twin) == repr(controller)


def test_what_goes_with_a_controller_comes_along_and_stays_read_only():
    twin = through_pickle(network())
    assert twin.provenance == {"method": "tsit5"} and twin.measured == {"ratio": 0.9} and twin.trained_method == "tsit5"
    with pytest.raises(TypeError):
        twin.provenance["method"] = "bs32"
    with pytest.raises(ValueError, match="read-only"):
        twin.decision.shift[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        through_pickle(chooser()).table[0] = 1.0
    law = through_pickle(registry.get("pi34"))
    with pytest.raises(TypeError):
        law.values["b1"] = 2.0
    assert law.replace(b1=0.5)["b1"] == 0.5


def test_a_spawned_process_decides_the_same():
    context = multiprocessing.get_context("spawn")
    made = [make() for make in CONTROLLERS.values()]
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        # each is rebuilt there, and what was rebuilt comes back
        for controller, data in zip(made, pool.map(pickle.dumps, made), strict=True):
            np.testing.assert_array_equal(decisions(pickle.loads(data)), decisions(controller))


@pytest.mark.parametrize(
    "ours", [strength.constant(2.0), strength.exponential(100.0, 10.0, 7), strength.linear(3, 1, 9)]
)
def test_strengths(ours):
    twin = through_pickle(ours)
    assert [twin(k) for k in range(12)] == [ours(k) for k in range(12)] and twin.describe() == ours.describe()
    assert strength.make(**twin.describe())(3) == ours(3)


@pytest.mark.parametrize("controller", ["pi34", "neural-field"])
def test_a_module_is_saved_whole_and_as_weights(controller):
    ode = ss.neural.NeuralODE(Field(), controller=controller, rtol=1e-4, atol=1e-4, regulariser="er_mean")
    y0, t = torch.ones(3, 2), torch.tensor([0.0, 1.0])
    expected = ode(y0, t)
    whole, weights = io.BytesIO(), io.BytesIO()
    torch.save(ode, whole)
    torch.save(ode.state_dict(), weights)
    whole.seek(0)
    weights.seek(0)
    other = torch.load(whole, weights_only=False)
    fresh = ss.neural.NeuralODE(Field(), controller=controller, rtol=1e-4, atol=1e-4)
    fresh.load_state_dict(torch.load(weights, weights_only=True))
    for module in (other, fresh, copy.deepcopy(other), through_pickle(ode)):
        got = module(y0, t)
        assert torch.equal(got.y, expected.y) and got.solution.stats.nfev == expected.solution.stats.nfev


def test_every_law_by_name_is_copied_and_goes_through_a_spawned_process():
    made = [registry.get(name, **({"h": 0.1} if name == "constant" else {})) for name in registry.names()]
    assert len(made) >= 33
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        sent = [pickle.loads(data) for data in pool.map(pickle.dumps, made)]
    for controller, *twins in zip(made, sent, map(through_pickle, made), map(copy.deepcopy, made), strict=True):
        for twin in twins:
            assert twin.key == controller.key and twin.params.tobytes() == controller.params.tobytes()


def test_a_solution_without_graph_is_saved_and_copied():
    y0, t = torch.ones(3, 2), torch.tensor([0.0, 1.0])
    with torch.no_grad():
        sol = ss.neural.odeint(Field(), y0, t, rtol=1e-4, atol=1e-4)
    file = io.BytesIO()
    torch.save(sol, file)
    file.seek(0)
    for twin in (through_pickle(sol), copy.deepcopy(sol), torch.load(file, weights_only=False)):
        assert torch.equal(twin.y, sol.y) and twin.stats.nfev == sol.stats.nfev and twin.message == sol.message
        assert torch.equal(twin.heuristics.R_E, sol.heuristics.R_E) and twin.heuristics.tableau.name == "tsit5"
    graph = ss.neural.odeint(Field(), y0, t, rtol=1e-4, atol=1e-4)
    assert torch.equal(through_pickle(graph).y, graph.y)  # the numbers; a graph cannot be saved
