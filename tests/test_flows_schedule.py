"""Learned samplers as numbers: their linear form, how they run, their file."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save as st_save

import stepsmith as ss
from stepsmith.controllers.file.layout import digest
from stepsmith.flows import EDM, VE, VP, FlowMatching, Schedule, linear, mixture, sample, times
from stepsmith.flows.network import Network
from stepsmith.train.cli import program as cli

PAGE = Path(__file__).parents[1] / "docs" / "learned_samplers.md"
MEANS, SCALES, WEIGHTS = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.8, 0.5], [0.5, 0.2, 0.3]
MODEL = mixture(MEANS, SCALES, WEIGHTS)


def noise(n=6, seed=1, dtype=torch.float64):
    return torch.randn(n, 2, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def random_schedule(seed=0, n=5, network=None, kind="bns"):
    rng = np.random.default_rng(seed)
    grid = np.sort(rng.random(n + 1))
    grid[0], grid[-1] = 0.0, 1.0
    return Schedule(
        kind, grid, 0.1 * rng.normal(size=n), 1 + 0.1 * rng.normal(size=n), np.tril(rng.normal(size=(n, n))) / n,
        FlowMatching().as_dict(), (0.0, 1.0), network, {"shape": [2]}, {"seed": 3, "note": "made by hand"},
        {"error_percent": 1.5},
    )  # fmt: skip


def networks():
    rng = np.random.default_rng(1)

    def layers(*widths):
        acts = ["tanh"] * (len(widths) - 2) + ["linear"]
        return tuple(
            (0.1 * rng.normal(size=(b, a)), 0.1 * rng.normal(size=b), act)
            for a, b, act in zip(widths[:-1], widths[1:], acts, strict=True)
        )

    return {
        "none": None, "correction": Network("correction", layers(5, 7, 2), order=3),
        "clock": Network("clock", layers(7, 8, 1), shared=True),
    }  # fmt: skip


NETWORKS = networks()


# -- the linear form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [FlowMatching(), VP(), VE(), EDM()], ids=lambda p: p.name)
@pytest.mark.parametrize("method", ["euler", "ab2", "ab3", "ab4", "midpoint"])
def test_rows_are_the_samplers(method, process):
    """On a grid of uneven steps, against the samplers that go step by step."""
    model = mixture(MEANS, SCALES, WEIGHTS, process)
    grid = times("cosine", 6, model, denoise=False)
    wanted = sample(model, noise(), method, grid=grid, denoise=False)
    if method == "midpoint":
        grid = torch.stack([grid[:-1], (grid[1:] + grid[:-1]) / 2], 1).flatten()
        grid = torch.cat([grid, wanted.t[-1:]])
    rows = linear.sampler(method)(grid)
    found, _, _ = linear.run(model.velocity, process.s(grid[0]) * noise(), rows)
    assert rows.evaluations == wanted.nfe
    torch.testing.assert_close(found, wanted.y, rtol=1e-10, atol=1e-10)


def test_orders_may_differ_from_step_to_step():
    grid = times("uniform", 4, MODEL)
    mixed = linear.adams(grid, [1, 2, 1, 3])
    one, two, three = (linear.adams(grid, k).slopes for k in (1, 2, 3))
    torch.testing.assert_close(mixed.slopes, torch.stack([one[0], two[1], one[2], three[3]]))
    with pytest.raises(ValueError, match="orders must be"):
        linear.adams(grid, [1, 2])


def test_steps_of_two_evaluations_need_an_even_number():
    with pytest.raises(ValueError, match="even number of evaluations"):
        linear.midpoint(times("uniform", 5, MODEL))


def test_gradients_reach_times_and_numbers():
    grid = (times("cosine", 3, MODEL) * 0.98 + 0.01).requires_grad_(True)
    numbers = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_(True)

    def free(t, n):
        return linear.run(MODEL.velocity, noise(2), linear.Rows(t, n[0, 0], n[0, 1], torch.tril(n[1])))[0]

    assert torch.autograd.gradcheck(lambda t: linear.run(MODEL.velocity, noise(2), linear.adams(t, 2))[0], (grid,))
    assert torch.autograd.gradcheck(free, (grid, numbers))


# -- running -----------------------------------------------------------------------------------------------------------


def loop_of_the_page():
    """The NumPy code of the page."""
    code = next(c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "safe_open" in c)
    space: dict = {}
    exec(code, space)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    return space["read"], space["sample"]


def test_the_loop_of_the_page_gives_the_same_samples(tmp_path):
    read, loop = loop_of_the_page()
    schedule = random_schedule()
    path = schedule.save(tmp_path / "s.safetensors")
    out = sample(MODEL, noise(), schedule=path, trajectory=True)
    found = loop(lambda x, t: MODEL.velocity(torch.tensor(x), t).numpy(), noise().numpy(), *read(path))
    np.testing.assert_allclose(found, out.y.numpy(), rtol=1e-13, atol=1e-13)
    assert out.nfe == schedule.evaluations == 5 and out.success and out.trajectory.shape == (6, 6, 2)
    torch.testing.assert_close(out.trajectory[-1], out.y, rtol=0, atol=0)
    torch.testing.assert_close(out.t, torch.tensor(schedule.times), rtol=0, atol=0)


def test_float32_samples_are_float32_and_near():
    z, schedule = noise(dtype=torch.float32), random_schedule()
    out, exact = sample(MODEL, z, schedule=schedule), sample(MODEL, z.double(), schedule=schedule)
    assert out.y.dtype == torch.float32 and exact.y.dtype == torch.float64
    assert 0.0 < (out.y.double() - exact.y).abs().max() < 1e-5


def test_a_correction_is_added_to_every_step():
    net = NETWORKS["correction"]
    schedule = random_schedule(network=net)
    x, u = noise(), []
    state = x
    for i in range(5):
        t, end = schedule.times[i : i + 2]
        u.append(MODEL.velocity(state, t))
        hidden = torch.tanh(
            torch.cat([state, u[i], torch.full((6, 1), t, dtype=torch.float64)], 1) @ torch.tensor(net.layers[0][0]).T
            + torch.tensor(net.layers[0][1])
        )
        more = hidden @ torch.tensor(net.layers[1][0]).T + torch.tensor(net.layers[1][1])
        state = (
            schedule.start[i] * x + schedule.state[i] * state + sum(schedule.slopes[i, j] * u[j] for j in range(i + 1))
            + (end - t) ** 3 * more
        )  # fmt: skip
    torch.testing.assert_close(sample(MODEL, x, schedule=schedule).y, state, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="for samples of 2 numbers, got 3"):
        sample(mixture([[0.0, 0.0, 0.0]], [1.0]), torch.randn(2, 3), schedule=schedule)


def test_a_clock_that_says_nothing_is_ab2_on_even_steps():
    layers = ((np.zeros((1, 7)), np.zeros(1), "linear"),)
    for shared in (False, True):
        schedule = random_schedule(network=Network("clock", layers, shared=shared), n=6)
        out = sample(MODEL, noise(), schedule=schedule)
        torch.testing.assert_close(out.y, sample(MODEL, noise(), "ab2", steps=6).y, rtol=1e-12, atol=1e-12)
        assert out.nfe == 6
    with pytest.raises(ValueError, match="keeps no trajectory"):
        sample(MODEL, noise(), schedule=schedule, trajectory=True)


def test_a_clock_of_each_sample_does_not_see_the_others_and_a_shared_one_does():
    own, shared = (
        random_schedule(network=Network("clock", NETWORKS["clock"].layers, shared=s), n=4) for s in (False, True)
    )
    z = noise(8)
    torch.testing.assert_close(sample(MODEL, z, schedule=own).y[:3], sample(MODEL, z[:3], schedule=own).y)
    assert (sample(MODEL, z, schedule=shared).y[:3] - sample(MODEL, z[:3], schedule=shared).y).abs().max() > 1e-6


def test_what_does_not_fit_is_refused():
    schedule = random_schedule()
    with pytest.raises(ValueError, match="for the process"):
        sample(mixture(MEANS, SCALES, WEIGHTS, VP()), noise(), schedule=schedule)
    for name, value in (("steps", 3), ("method", "ddim"), ("rtol", 0.1), ("denoise", True), ("grid", "edm")):
        with pytest.raises(ValueError, match=f"{name} means nothing beside a schedule"):
            sample(MODEL, noise(), schedule=schedule, **{name: value})
    wrong = [
        ({"times": np.zeros(3)}, "times of a schedule must have shape"),
        ({"start": np.full(5, np.nan)}, "start of a schedule must be finite"),
        ({"slopes": np.ones((5, 5))}, "zero above the diagonal"),
        ({"times": np.linspace(0, 1.1, 6)}, "must lie in the span"),
        ({"span": (1.0, 1.0)}, "two different times"),
        ({"span": (1.0, 0.0)}, "must run from noise to data"),
        ({"span": (-1.0, 1.0)}, "span of a schedule must be from 0 to 1"),
        ({"process": {"name": "vp"}}, "must run from noise to data"),
        ({"process": {"name": "vpp"}}, "unknown process"),
    ]
    facts = {n: getattr(schedule, n) for n in ("kind", "times", "start", "state", "slopes", "process", "span")}
    for change, said in wrong:
        with pytest.raises(ValueError, match=said):
            Schedule(**{**facts, **change})


def test_samples_that_are_not_finite_are_said():
    schedule = random_schedule()
    huge = np.tril(np.full((5, 5), 1e6))
    big = Schedule("bns", schedule.times, schedule.start, np.full(5, 1e6), huge, schedule.process, (0.0, 1.0))
    z = torch.cat([noise(3, dtype=torch.float32), torch.full((1, 2), 1e30)])
    out = sample(MODEL, z, schedule=big)
    assert not out.success and out.failed.any() and "not finite" in out.message and out.y[out.failed].isnan().all()


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_holds_all_of_a_schedule(tmp_path, name):
    schedule = random_schedule(network=NETWORKS[name])
    found = Schedule.load(schedule.save(tmp_path / "s.safetensors"))
    for part in ("times", "start", "state", "slopes"):
        assert np.array_equal(getattr(found, part), getattr(schedule, part))
    assert (found.kind, found.process, found.span) == (schedule.kind, dict(schedule.process), schedule.span)
    assert (found.trained_on, found.provenance, found.measured) == (
        schedule.trained_on, schedule.provenance, schedule.measured,
    )  # fmt: skip
    assert torch.equal(sample(MODEL, noise(), schedule=found).y, sample(MODEL, noise(), schedule=schedule).y)
    assert "5 evaluations" in found.describe() and "made by hand" in found.describe()


def parts(path):
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    doc = json.loads(head.pop("__metadata__")["stepsmith"])
    from safetensors.numpy import load

    return doc, load(data)


def forge(path, doc, arrays):
    text = doc if isinstance(doc, str) else json.dumps(doc)
    path.write_bytes(st_save(arrays, {"stepsmith": text, "sha256": digest(text, arrays)}))
    return path


CHANGES = [
    ("evaluations", 4, "must have shape"),
    ("evaluations", True, "evaluations must be a whole number"),
    ("kind", 3, "kind must be text"),
    ("kind", "\x1b[31m", "cannot be printed|printable"),
    ("process", {"name": 1}, "process.name must be text"),
    ("process", {"name": "vp", "beta_min": [1]}, "must be a number"),
    ("process", {"name": "vpp"}, "did you mean 'vp'|unknown process"),
    ("process", {"name": "vp", "beta": 1.0}, "has no option 'beta'"),
    ("process", {"name": "edm", "sigma_max": -1.0}, "sigma_max must be"),
    ("span", [0.0], "span must be a list of two"),
    ("span", [0.0, "1"], "must be a number"),
    ("network", {"role": "correction", "order": 2, "shared": False, "code": "x"}, "code' not understood"),
    ("network", {"role": "oracle", "order": 2, "shared": False}, "role of a network"),
    ("network", {"role": "clock", "order": 0, "shared": True}, "must have 7 inputs"),
    ("network", None, "layers without a network"),
    ("layers", [], "tensors: .*not understood"),
    ("layers", "x", "layers must be a list"),
    ("schema", 2, "schema 2 is unknown"),
    ("format", "stepsmith-controller", "not a file of a learned sampler"),
    ("surprise", 1, "not understood"),
]


@pytest.mark.parametrize(("key", "value", "said"), CHANGES, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(CHANGES)])
def test_a_document_that_is_not_understood_is_refused(tmp_path, key, value, said):
    doc, arrays = parts(random_schedule(network=NETWORKS["correction"]).save(tmp_path / "s.safetensors"))
    assert Schedule.load(forge(tmp_path / "same.safetensors", doc, arrays)).kind == "bns"
    with pytest.raises(ValueError, match=said):
        Schedule.load(forge(tmp_path / "bad.safetensors", {**doc, key: value}, arrays))


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    doc, arrays = parts(random_schedule().save(tmp_path / "s.safetensors"))
    for name, value, said in (
        ("slopes", arrays["slopes"].T.copy(), "zero above the diagonal"), ("times", arrays["times"] + 1, "in the span"),
        ("state", arrays["state"].astype(np.float32), "must be float64"), ("more", arrays["state"], "not understood"),
        ("start", np.full(5, np.inf), "not finite"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Schedule.load(forge(tmp_path / "bad.safetensors", doc, {**arrays, name: value}))
    with pytest.raises(ValueError, match="slopes missing"):
        Schedule.load(forge(tmp_path / "bad.safetensors", doc, {k: v for k, v in arrays.items() if k != "slopes"}))


def test_damage_is_refused(tmp_path):
    data = random_schedule(network=NETWORKS["clock"]).save(tmp_path / "s.safetensors").read_bytes()
    bad, rng = tmp_path / "bad.safetensors", np.random.default_rng(0)
    for n in [*range(0, 40), *range(40, len(data), 97)]:
        bad.write_bytes(data[:n])
        with pytest.raises(ValueError, match="bad.safetensors: "):
            Schedule.load(bad)
    for _ in range(200):
        changed = bytearray(data)
        changed[int(rng.integers(8, len(data)))] ^= 1 << int(rng.integers(0, 7))
        bad.write_bytes(changed)
        with pytest.raises(ValueError, match="bad.safetensors: "):
            Schedule.load(bad)


def test_other_readers_say_what_it_is(tmp_path, capsys):
    path = random_schedule().save(tmp_path / "s.safetensors")
    for more, said in (([], "learned sampler, 5 evaluations"), (["--json"], '"evaluations": 5')):
        with pytest.raises(SystemExit) as stop:
            cli.main(["inspect", str(path), *more])
        assert stop.value.code == 0 and said in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"holds a learned sampler.*ss\.flows\.sample"):
        ss.load_controller(path)
    with pytest.raises(ValueError, match="must end in .safetensors"):
        random_schedule().save(tmp_path / "s.bin")
