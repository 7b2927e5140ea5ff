"""The benchmark's protocols: what is frozen stays as it is, and what was changed is refused."""

import dataclasses

import numpy as np
import pytest

import toy_bench
from stepsmith.integrators import problems
from stepsmith.train.bench import instance_file, protocol, splitting
from stepsmith.train.bench.instance_file import BenchError

SHIPPED = ("orbits-v1", "chaos-v1", "stiff-v1")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The folder of a small protocol, which is the only one there is."""
    folder = toy_bench.freeze(tmp_path / "protocols")
    toy_bench.use(monkeypatch, folder)
    yield folder
    protocol.load.cache_clear()


def test_what_ships():
    assert set(SHIPPED) | {"steps-v1"} == set(protocol.names())
    assert protocol.members("steps-v1") == SHIPPED and protocol.members("orbits-v1") == ("orbits-v1",)


@pytest.mark.parametrize("name", SHIPPED)
def test_instances_are_those_that_the_generator_draws(name):
    found = protocol.load(name)
    base = problems.family(found.data["problem"]["family"])
    for i in (0, 1, 17, 311, 599):
        one = splitting.drawn(name, base, i)
        np.testing.assert_allclose(found.instances.y0[i], one.y0[0], rtol=1e-12)
        np.testing.assert_allclose(found.instances.p[i], one.p[0], rtol=1e-12)
        assert found.instances.split[i] == splitting.split_of(name, i)
    assert len(found.instances.index) == found.data["instances"]["count"]


@pytest.mark.parametrize("name", SHIPPED)
def test_an_instance_does_not_depend_on_how_many_there_are(name):
    found = protocol.load(name)
    for split in ("train", "validation", "test"):
        whole = found.family.split(split, found.size(split))
        for n in (1, 7, 40):
            part = found.family.split(split, n)
            assert len(part) == n
            for key in ("y0", "p", "t0", "t1"):
                assert np.array_equal(getattr(part, key), getattr(whole, key)[:n])


@pytest.mark.parametrize("name", SHIPPED)
def test_splits_are_disjoint_and_large_enough(name):
    found = protocol.load(name)
    ids = [found.ids(s) for s in ("train", "validation", "test")]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 600
    assert len(ids[2]) >= 100 and len(ids[1]) >= found.data["budget"]["validation_instances"]
    assert found.seeds == 5


def test_generated_text_does_not_depend_on_the_count():
    base = problems.family("lotka_volterra")
    short, long = (instance_file.text("toy-v1", base, n) for n in (3, 9))
    assert long.startswith(short)
    assert instance_file.text("toy-v2", base, 3) != short


def test_a_protocol_s_arguments_make_an_environment(toy):
    from stepsmith.envs.ode import make_core

    found = protocol.load("toy-v1")
    core = make_core(3, False, **{**found.env, "pool_size": 5})
    assert core.reset().shape == (3, 3)
    assert np.array_equal(core.pool.batch.y0, found.family.split("train", 5).y0)


def test_frozen_means_frozen(toy):
    found = protocol.load("toy-v1")
    with pytest.raises(BenchError, match="seed of a split is 0, got 3"):
        found.family.split("test", 2, 3)
    with pytest.raises(BenchError, match="holds .* instances, got n = 1000"):
        found.family.split("test", 1000)
    with pytest.raises(ValueError, match="unknown split 'sample'"):
        found.family.split("sample", 1)


@pytest.mark.parametrize("file", ["toy-v1.csv", "toy-v1.law.json"])
def test_a_changed_file_is_refused(toy, file):
    path = toy / file
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(BenchError, match=f"{file}: not the file that the protocol was frozen with"):
        protocol.load("toy-v1")
    path.unlink()
    with pytest.raises(BenchError, match=f"{file}: a file of the protocol cannot be read"):
        protocol.load("toy-v1")


def test_line_ends_do_not_change_a_digest(toy):
    before = protocol.load("toy-v1").digest
    for path in toy.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    protocol.load.cache_clear()
    assert protocol.load("toy-v1").digest == before


def test_learned_controllers_change_another_law_where_a_protocol_says_so():
    found = protocol.load("chaos-v1")
    assert found.env["law"] == found.base.name == "chaos-v1-base" and found.env["baseline"] == found.law.name
    gains = [sum(law.values[k] for k in ("b1", "b2", "b3")) for law in (found.law, found.base)]
    assert gains == pytest.approx([0.0209, 0.6188], abs=1e-4)
    for name in ("orbits-v1", "stiff-v1"):
        same = protocol.load(name)
        assert same.base is same.law and same.env["law"] == name


def test_a_changed_law_that_is_not_the_frozen_one_is_refused(toy):
    file = next(toy.glob("*.law.json"))
    (toy / "base.json").write_bytes(file.read_bytes())
    text = (toy / "toy-v1.toml").read_text()
    (toy / "toy-v1.toml").write_text(text + f'\n[base]\nfile = "base.json"\nsha256 = "{"0" * 64}"\n')
    with pytest.raises(ValueError, match=r"base\.json"):
        protocol.load("toy-v1")


def test_unknown_names(toy):
    with pytest.raises(ValueError, match="unknown protocol 'toy-v2'.*toy-v1"):
        protocol.load("toy-v2")
    (toy / "both-v1.toml").write_text('name = "both-v1"\ndoc = "both"\nprotocols = ["toy-v1"]\n')
    with pytest.raises(ValueError, match="both-v1 is a suite: name one of its protocols, toy-v1"):
        protocol.load("both-v1")


def test_a_frozen_family_without_instances_draws_as_any_family():
    family = protocol.load("chaos-v1").family
    plain = dataclasses.replace(family, instances=None, name="plain")
    assert len(plain.split("test", 3, 5)) == 3


def test_configs_of_all_rows_that_ship_are_sound():
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("cma")
    from stepsmith.train.bench import rows
    from stepsmith.train.config.resolved import resolved

    for name in SHIPPED:
        found = protocol.load(name)
        assert rows.row_names(found) == ("zero", "random", "linear", "ppo", "sac", "td3", "dqn", "es")
        for row in found.data["rows"]:
            whole = resolved(rows.config(found, row, 1))
            assert whole["train"]["total_steps"] == found.env_steps
            resolved(rows.config(found, row, 1, 4000))
