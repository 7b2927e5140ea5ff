"""Training of small flows: losses have the exact model as their minimum, and a run resumes to the same numbers."""

from __future__ import annotations

import json

import pytest
import torch

from stepsmith.flows import EDM, VE, VP, FlowMatching, mixture, sample
from stepsmith.train import flows
from stepsmith.train.flows import losses, training
from stepsmith.train.flows.__main__ import main

MEANS, SCALES, WEIGHTS = [[1.0, -0.5], [-1.0, 0.7]], [0.4, 0.7], [0.6, 0.4]


@pytest.mark.parametrize("process", [FlowMatching(), VP(), VE(), EDM()], ids=lambda p: p.name)
def test_the_exact_model_is_the_losss_minimum(process):
    """What the exact model misses of the targets is uncorrelated with every function of x and t."""
    model = mixture(MEANS, SCALES, WEIGHTS, process)
    generator = torch.Generator().manual_seed(0)
    x, t, target, weight = losses.example(process, model.draw(40_000, generator), generator)
    missed = target - getattr(model, losses.predicts(process))(x, t)
    size = missed.abs().mean()
    where = process.log_snr(t).clamp(-6, 6)[:, None]
    for tried in (torch.ones_like(x), torch.tanh(x), torch.sin(where), torch.cos(where) * torch.tanh(2.0 * x.flip(1))):
        product = missed * tried
        standard = product.std(0) / len(x) ** 0.5
        assert (product.mean(0).abs() < 4.5 * standard).all()
        assert ((product + 0.2 * size * tried**2).mean(0) > 4.5 * standard).all(), "a bias would be seen"
    assert (weight > 0).all()


def test_published_weight_of_edm():
    generator = torch.Generator().manual_seed(0)
    _, t, _, weight = losses.example(EDM(), torch.zeros(2000, 2, dtype=torch.float64), generator)
    torch.testing.assert_close(weight, (t**2 + 1.0) / t**2)
    assert float(torch.log(t).mean()) == pytest.approx(-1.2, abs=0.1)
    assert float(torch.log(t).std()) == pytest.approx(1.2, abs=0.1)


def test_data():
    generator = torch.Generator().manual_seed(0)
    board, none = flows.data("checkerboard").draw(4000, generator)
    assert none is None and board.abs().max() <= 2.0
    assert ((torch.floor(board[:, 0]) + torch.floor(board[:, 1])) % 2 == 0).all()
    assert len({tuple(cell) for cell in torch.floor(board).int().tolist()}) == 8
    moons, sides = flows.data("moons").draw(20_000, generator)
    torch.testing.assert_close(moons.mean(0), torch.zeros(2), atol=0.03, rtol=0.0)
    torch.testing.assert_close(moons.std(0), torch.ones(2), atol=0.03, rtol=0.0)
    assert set(sides.tolist()) == {0, 1}


def test_images():
    pytest.importorskip("sklearn")
    digits = flows.data("digits")
    items, labels = digits.draw(100, torch.Generator().manual_seed(0))
    assert digits.size == 64 and digits.classes == 10 and items.shape == (100, 64) and items.dtype == torch.float32
    assert items.min() == -1.0 and items.max() == 1.0 and labels.max() < 10 and len(digits.unseen) > 400


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(training, "EVERY", 10)


def test_a_run_resumes_to_the_same_numbers(tmp_path, short):
    """30 iterations in one go, and 30 of which the first 20 were made before an interruption."""
    config = flows.FlowConfig("moons", seed=3, width=16, layers=2, iterations=30, conditional=True)
    whole = flows.train(config, tmp_path / "whole", progress=False)
    saved = []

    def interrupted(self, state, save=training.Checkpoint.save):
        save(self, state)
        saved.append(state["iteration"])
        if len(saved) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Checkpoint, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            flows.train(config, tmp_path / "halved", progress=False)
    assert saved == [10, 20]
    halved = flows.train(config, tmp_path / "halved", resume=True, progress=False)
    one, two = flows.load(whole, labels=1), flows.load(halved / "model.safetensors", labels=1)
    x = torch.randn(4, 2)
    assert torch.equal(one.velocity(x, 0.3), two.velocity(x, 0.3))
    assert not torch.equal(one.velocity(x, 0.3), flows.load(whole, labels=0).velocity(x, 0.3))
    rows = [json.loads(line) for line in (halved / "log.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [10, 20, 30]
    assert sample(one, x, steps=4).success
    with pytest.raises(ValueError, match="labels must be whole numbers from 0 to 1"):
        flows.load(whole)
    with pytest.raises(ValueError, match="labels must be whole numbers from 0 to 1"):
        flows.load(whole, labels=2)
    with pytest.raises(ValueError, match=r"labels must be one number or one a sample, \(4,\), got \(3,\)"):
        flows.load(whole, labels=torch.tensor([0, 1, 1])).velocity(x, 0.3)
    with pytest.raises(ValueError, match=r"x must be of shape \(B, 2\) for this network, got \(4, 3\)"):
        sample(one, torch.randn(4, 3))
    with pytest.raises(ValueError, match="already holds a run"):
        flows.train(config, whole, progress=False)


@pytest.mark.parametrize("process", ["vp", "ve", "edm"])
def test_the_command(tmp_path, process, capsys, short):
    out = tmp_path / process
    asked = ["checkerboard", "--process", process, "--width", "8", "--layers", "1", "--iterations", "20", "--quiet"]
    with pytest.raises(SystemExit) as done:
        main([*asked, "--out", str(out)])
    assert done.value.code == 0 and capsys.readouterr().out.strip() == str(out)
    model = flows.load(out)
    assert model.process.name == process and sample(model, torch.randn(5, 2), "ddim", 4, "edm").success
    with pytest.raises(SystemExit) as done:
        main([*asked, "--out", str(out)])
    assert done.value.code == 2 and "already holds a run" in capsys.readouterr().err


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'moons'"):
        flows.FlowConfig("moon")
    with pytest.raises(ValueError, match="process"):
        flows.FlowConfig("moons", "vpp")
    with pytest.raises(ValueError, match="no classes"):
        flows.FlowConfig("checkerboard", conditional=True)
    with pytest.raises(ValueError, match="width"):
        flows.FlowConfig("moons", width=0)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no safetensors file"):
        flows.load(tmp_path)
