"""Checkpoints: trees that come back as they were, what is refused, pycma's state against an unbroken search, neural run
folders.
"""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from stepsmith.train.run.checkpoint import Checkpoint, read_tree, write_tree
from stepsmith.train.run.runfiles import RunError, append_log, plain, read_log


def there_and_back(tmp_path, tree):
    checkpoint = Checkpoint(tmp_path, "run")
    checkpoint.save(tree)
    return Checkpoint(tmp_path, "run").load()


@pytest.mark.parametrize(
    "tree",
    [
        None, True, -3, 2**130, 0.1, -0.0, math.inf, -math.inf, "é\n", [], {}, (), [1, [2.5, None]], (1, (2,), [3]),
        {"a": {"b": [1, {"c": "d"}]}}, {1: "a", (2, 3): {4: 5}}, {"@array": 0, "x": 1}, {"": {"": ""}},
    ],
)  # fmt: skip
def test_plain_data_comes_back_with_its_types(tmp_path, tree):
    found = there_and_back(tmp_path, tree)
    assert found == tree and type(found) is type(tree) and repr(found) == repr(tree)


def test_arrays_numbers_and_tensors_come_back_bit_for_bit(tmp_path):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(3, 2))
    tree = {
        "a": shared, "again": [shared], "nan": np.array([np.nan, -0.0, 5e-324]), "empty": np.zeros((0, 4), np.float32),
        "zero": np.array(7),
        "f32": rng.normal(size=5).astype(np.float32), "u64": np.array([2**64 - 1], np.uint64),
        "bool": np.array([True, False]),
        "number": np.float64(0.1), "whole": np.int32(-5), "tensor": torch.randn(2, 3), "bytes": torch.get_rng_state(),
        "slice": np.arange(24.0).reshape(4, 6)[::2, 1::2], "none": math.nan,
    }  # fmt: skip
    found = there_and_back(tmp_path, tree)
    assert found["a"] is found["again"][0] and math.isnan(found.pop("none"))
    for name, value in tree.items():
        if name in ("again", "none"):
            continue
        back = found[name]
        assert type(back) is type(value) and back.dtype == value.dtype and tuple(back.shape) == tuple(value.shape)
        assert np.asarray(back).tobytes() == np.asarray(value).tobytes()


@pytest.mark.parametrize("thing", [object(), {1, 2}, b"x", np.array([object()]), print, 1j])
def test_other_things_do_not_belong_into_a_checkpoint(tmp_path, thing):
    with pytest.raises(TypeError, match="a checkpoint holds no"):
        Checkpoint(tmp_path).save({"x": thing})
    assert not list(tmp_path.iterdir())


def test_the_last_two_are_kept_and_a_flipped_bit_anywhere_is_noticed(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    for i in range(3):
        checkpoint.save({"i": i, "x": np.full(40, float(i))})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.npz", "checkpoint.previous.npz"]
    whole = checkpoint.path.read_bytes()
    wrong = 0
    for at in range(0, len(whole), 7):
        data = bytearray(whole)
        data[at] ^= 0x04
        checkpoint.path.write_bytes(bytes(data))
        found = checkpoint.load()
        # names and times in a zip archive have no checksum; what they name does
        assert (found["i"] == 2 and np.all(found["x"] == 2.0)) or (found["i"] == 1 and np.all(found["x"] == 1.0)), at
        wrong += found["i"] == 1
    assert wrong > 40


def test_files_of_other_programs_versions_and_runs(tmp_path):
    path = tmp_path / "checkpoint.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match="no checkpoint of this program"):
        read_tree(path)
    with path.open("wb") as f:
        write_tree(f, {}, "one")
    with pytest.raises(ValueError, match="belongs to another run"):
        read_tree(path, "two")
    about = np.frombuffer(json.dumps({"format": "stepsmith checkpoint", "version": 99, "tree": {}}).encode(), np.uint8)
    np.savez(path, about=about)
    with pytest.raises(RunError, match=r"no checkpoint is whole \(checkpoint.npz: it is of version 99"):
        Checkpoint(tmp_path).load()


def test_a_log_is_json_to_the_letter(tmp_path):
    path = tmp_path / "log.jsonl"
    append_log(path, {"a": math.nan, "b": np.float32(0.5), "c": [math.inf, np.int64(3)], "d": np.bool_(True)})
    text = path.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": 0.5, "c": [None, 3], "d": True}
    path.write_text('{"v": NaN}\n{"v": 2}\n{"v": 3}')  # an earlier version's, cut short
    assert read_log(path) == ([{"v": None}, {"v": 2}], len('{"v": NaN}\n{"v": 2}\n'))
    append_log(path, {"v": 4})
    assert [row["v"] for row in read_log(path)[0]] == [None, 2, 4]
    assert plain({1: (np.nan,)}) == {"1": [None]}


@pytest.mark.parametrize("n, generations", [(4, 40), (60, 12), (410, 12)])  # the last is pycma's diagonal mode
@pytest.mark.parametrize("at", [0, 1, 9])
def test_pycma_goes_on_as_if_nothing_had_been(tmp_path, n, generations, at):
    cma = pytest.importorskip("cma")
    from stepsmith.train.algorithms import es_state

    def make():
        options = {"seed": 3, "verbose": -9, "maxiter": generations, "CMA_diagonal": n > 400, "popsize": 8}
        return cma.CMAEvolutionStrategy(np.ones(n), 0.2, options)

    def generation(es):
        xs = es.ask()
        es.tell(xs, [float(np.sum(x * x * np.arange(1, n + 1))) if x[0] < 1.3 else np.inf for x in xs])
        return np.array(xs), es.mean.copy()

    es, checkpoint = make(), Checkpoint(tmp_path)
    seen = []
    for i in range(generations):
        if i == at:
            checkpoint.save(es_state.state_of(es))
        seen.append(generation(es))
    np.random.rand(5)  # noqa: NPY002 (pycma's generator, moved on)
    again = es_state.build(make, checkpoint.load())
    for i in range(at, generations):
        xs, mean = generation(again)
        assert xs.tobytes() == seen[i][0].tobytes() and mean.tobytes() == seen[i][1].tobytes()
    with pytest.raises(ValueError, match=r"saved with cma 3\.0, and"):
        es_state.build(make, {**checkpoint.load(), "cma": "3.0"})


@pytest.fixture(scope="module")
def neural(tmp_path_factory):
    """A finished neural run of three epochs, and its folder as it was in the third."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from stepsmith.train.neural import loop
    from stepsmith.train.neural.config import from_dict

    out = tmp_path_factory.mktemp("neural")
    cfg = from_dict({"name": "toy", "task": {"name": "digits", "hidden": 4}, "solver": {"tolerance": 1e-2},
                     "train": {"epochs": 3, "batch": 1024, "learning_rate": 0.01}})  # fmt: skip
    real = loop._Training._train_epoch

    def copied(self):
        if self.epoch == 2:
            shutil.copytree(out / "whole", out / "cut")
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Training, "_train_epoch", copied)
        loop.train(cfg, out=out / "whole", progress=False)
    (out / "cut" / "run.lock").unlink()
    return cfg, out / "whole", out / "cut"


def rows(folder):
    found = [json.loads(line, parse_constant=pytest.fail) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in found]


@pytest.mark.parametrize("how", ["whole", "flipped", "truncated", "empty", "none"])
def test_a_neural_run_goes_on_from_the_last_whole_checkpoint(neural, how, tmp_path, capsys):
    from stepsmith.train.neural import loop

    cfg, whole, cut = neural
    out = tmp_path / "run"
    shutil.copytree(cut, out)
    path = out / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    at = data.find(b"data/0") + 400  # among the numbers of the first tensor, whose damage torch itself does not see
    data[at] ^= 0x01
    spoilt = {"flipped": bytes(data), "truncated": bytes(data[: len(data) // 2]), "empty": b""}
    if how in spoilt:
        path.write_bytes(spoilt[how])
    if how == "none":
        path.unlink()
        (out / "checkpoint.previous.pt").unlink()
    loop.train(cfg, out=out, resume=True, progress=False)
    said = capsys.readouterr().err
    assert ("checkpoint.previous.pt" in said) == (how in spoilt) and ("begins again" in said) == (how == "none")
    assert rows(out) == rows(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_neural_run_takes_no_other_runs_checkpoint(neural, tmp_path):
    from stepsmith.train.neural import loop

    cfg, _, cut = neural
    out = tmp_path / "run"
    shutil.copytree(cut, out)
    path = out / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": cfg.seed + 1}))
    with pytest.raises(RunError, match="belongs to another run"):
        loop.train(dataclasses.replace(cfg, seed=cfg.seed + 1), out=out, resume=True, progress=False)


def test_a_row_without_its_epoch_is_named(neural, tmp_path):
    from stepsmith.train.neural import loop

    cfg, _, cut = neural
    out = tmp_path / "run"
    shutil.copytree(cut, out)
    log = out / "log.jsonl"
    log.write_text('{"a": 1}\n' + log.read_text())
    with pytest.raises(RunError, match=r"log\.jsonl, line 1: damaged, it names no epoch"):
        loop.train(cfg, out=out, resume=True, progress=False)


def test_neural_folders_name_what_is_wrong(neural, tmp_path):
    from stepsmith.train.neural import loop
    from stepsmith.train.run.lock import held

    cfg, _, cut = neural
    out = tmp_path / "run"
    shutil.copytree(cut, out)
    with held(out), pytest.raises(RunError, match="in use by process"):
        loop.train(cfg, out=out, resume=True, progress=False)
    for path in out.glob("checkpoint*"):
        path.write_bytes(b"PK not torch's")
    with pytest.raises(RunError, match="no checkpoint is whole"):
        loop.train(cfg, out=out, resume=True, progress=False)
    text = (out / "config.json").read_text()
    (out / "config.json").write_text(text[:40])
    with pytest.raises(RunError, match=r"config\.json is damaged or cut short"):
        loop.train(cfg, out=out, resume=True, progress=False)
