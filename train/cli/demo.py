"""`stepsmith demo`: train a controller live, compare it, export it, use it, and train a neural ODE.

    1  PPO of Stable-Baselines3 on three-body orbits: the shipped config, fewer steps, a residual on the family's tuned
      law
    2  that policy, the shipped `three-body` and its formula of three numbers against the classical laws on held-out
       orbits, at equal error
    3  the policy as one file, and a problem solved with it
    4  a neural ODE trained on scikit-learn's digits, and controllers compared on its trained field
    5  the same neural ODE trained through torchdiffeq, as it is and with one added line

A few minutes on two cores, kernels included.  What a minute and a half of training gives (a fifth of the shipped
config's env steps) stands beside what ships; gains and losses are printed as they come out.  The same seed and versions
give the same numbers, the clock apart.
"""

from __future__ import annotations

import dataclasses
import json as json_text
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ..config import reading, settings
from ..evaluate.headline import Comparison
from .demo_report import Teller, exact_rows, line_sentences, sentences

METHOD = "tsit5"
LIVE = "trained live"
SHIPPED_ORBITS, SHIPPED_FIELD = "three-body", "neural-field"
FORMULA = "three-body-formula"  # of three numbers, whose decision takes little time


@dataclass(frozen=True)
class Budget:
    """What the demo spends.

    steps           env steps of the training
    train           entries of the config's [train] that change with them
    pool            training instances
    every           env steps between validations
    validation      validation instances
    instances       test instances of the comparison
    choose          validation instances of the comparison
    rounds          rounds of timing
    epochs, hidden  of the neural ODE on digits: epochs and width of its field
    samples         held-out digits that controllers are compared on
    samples_choose  others on which the denominator is chosen
    itself          how many of them torchdiffeq itself solves
    field_rounds    rounds of timing there
    """

    steps: int = 8_000_000
    train: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"n_steps": 256, "batch_size": 8192, "learning_rate": 3e-3, "final_learning_rate": 1e-4}
    )
    pool: int = 512
    every: int = 500_000
    validation: int = 100
    instances: int = 80
    choose: int = 48
    rounds: int = 2
    epochs: int = 12
    hidden: int = 64
    samples: int = 100
    samples_choose: int = 50
    itself: int = 16
    field_rounds: int = 2


FULL = Budget()
QUICK = Budget(
    steps=8192, train={"num_envs": 64, "n_steps": 64, "batch_size": 1024}, pool=16, every=4096, validation=4,
    instances=6, choose=4,
    rounds=1, epochs=3, hidden=32, samples=8, samples_choose=6, itself=1, field_rounds=1,
)  # fmt: skip


def demo(
    seed: int = 0,
    out: str | Path | None = None,
    json: bool = False,
    quick: bool = False,
    *,
    three_body: str | Path = SHIPPED_ORBITS,
    neural_field: str | Path = SHIPPED_FIELD,
) -> dict[str, Any]:
    """Run the demo; returns what `json` prints to standard output instead of the story.

    seed             of training, test instances and the neural ODE
    out              folder of everything written (default out/demo); an earlier demo's files there are replaced
    quick            tiny budgets that show the way, not a result
    three_body, neural_field    zoo names or files of the controllers to compare with

    Raises ValueError for a bad seed or controller, and where no tuned law is there for the field.
    """
    settings.seed("seed", seed)
    for name, value in (("json", json), ("quick", quick)):
        options.flag(name, value)
    reading.folder("out", out)
    # what is missing must be known before the training, not after it
    from ...controllers import resolve
    from ...controllers.file import load_learned

    orbits, field = load_learned(three_body), load_learned(neural_field)
    tuned = resolve.controller("tuned", "neural_field", METHOD)
    folder = Path(out) if out is not None else Path("out") / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    run = _Demo(int(seed), QUICK if quick else FULL, folder, Teller(json))
    began = time.perf_counter()
    run.tell.title(quick)
    trained = run.train()
    compared = run.compare_orbits(trained, orbits)
    exported, solved = run.use()
    flow, on_field = run.train_field(load_learned(exported), field, tuned)
    lines = run.add_line(field)

    said = {
        "three_body": sentences(compared.comparison), "field": sentences(on_field),
        "torchdiffeq": line_sentences(lines),
    }  # fmt: skip
    seconds = round(time.perf_counter() - began, 1)
    run.tell.end(said, exported, run.paths, seconds)
    result = {
        "seed": int(seed), "quick": quick, "seconds": seconds, "controller": str(exported),
        "pictures": {k: str(p["picture"]) for k, p in run.paths.items()}, "sentences": said, "solve": solved,
        "three_body": compared.to_json(), "field": on_field.to_json(),
        "digits": {"accuracy": flow.accuracy, "nfev": flow.nfev, "seconds": round(flow.seconds, 2)},
        "torchdiffeq": [line.to_json() for line in lines],
    }  # fmt: skip
    text = json_text.dumps(result, indent=2, allow_nan=False)
    (folder / "demo.json").write_text(text + "\n")
    if json:
        print(text)
    return result


@dataclass
class _Demo:
    """The demo's five steps.  paths: files written, by "three_body" and "field"."""

    seed: int
    budget: Budget
    folder: Path
    tell: Teller
    paths: dict[str, dict[str, Path]] = dataclasses.field(default_factory=dict)

    def train(self) -> Path:
        """Step 1: train a controller; returns its file."""
        story = f"{self.budget.steps:,} attempted steps; validation: its work over that of the tuned law"
        self.tell.step(1, "PPO on three-body orbits", story)
        file = _train(self.folder / "run", self.seed, self.budget)
        self.tell.trained(self.folder / "run")
        return file

    def compare_orbits(self, file: Path, shipped: Any) -> Any:
        """Step 2: compare it, and the shipped controller, with the classical laws; returns the report."""
        story = f"{self.budget.instances} instances, every published law, the tuned law, at equal error"
        self.tell.step(2, "Held-out orbits", story)
        orbits = _compare_orbits(file, shipped, self.seed, self.budget)
        self._show("three_body", "three_body", orbits.comparison, orbits.to_json())
        return orbits

    def use(self) -> tuple[Path, dict[str, Any]]:
        """Step 3: export the controller and solve one problem with it; returns the file and the solve's figures."""
        from ..run.run import export

        story = "network, observation, base law, limits and provenance; reading it runs no code"
        self.tell.step(3, "One file", story)
        exported = export(self.folder / "run", self.folder / "three-body-live.safetensors")
        one = _solve_one(exported, self.seed)
        self.tell.file(exported, one)
        return exported, one

    def train_field(self, live: Any, shipped: Any, tuned: Any) -> tuple[Any, Comparison]:
        """Step 4: train a neural ODE and compare controllers on its field; returns both."""
        self.tell.step(4, "A neural ODE", "trained on scikit-learn's digits, then controllers on its trained field")
        trained = _train_field(self.seed, self.budget, self.tell)
        from ..neural.trained_field import compare_on_field

        b = self.budget
        field = compare_on_field(
            trained, {SHIPPED_FIELD: shipped, f"{LIVE} (orbits)": live}, tuned, n=b.samples,
            n_validation=b.samples_choose, n_torchdiffeq=b.itself, repeats=b.field_rounds, seed=self.seed,
        )  # fmt: skip
        self._show("field", "digits_field", field, field.to_json())
        return trained, field

    def add_line(self, field: Any) -> list[Any]:
        """Step 5: train through torchdiffeq with and without the added line; returns what each training took."""
        self.tell.step(5, "The line in your script", "the same neural ODE, trained through torchdiffeq")
        from ..neural.added_line import added_line
        from ..run.progress import Progress

        bar = Progress("training through torchdiffeq", self.budget.epochs, "epochs")
        try:
            trained = added_line(
                {f"{SHIPPED_FIELD}, nothing else": field}, self.budget.epochs, hidden=self.budget.hidden,
                seed=self.seed, log=bar.update,
            )  # fmt: skip
        finally:
            bar.close()
        self.tell.lines(trained)
        return trained

    def _show(self, key: str, stem: str, comparison: Comparison, data: dict[str, Any]) -> None:
        self.paths[key] = _keep(comparison, data, self.folder, stem)
        self.tell.table(comparison, self.paths[key])


def _train(folder: Path, seed: int, budget: Budget) -> Path:
    """The shipped config with the demo's budget, on top of the tuned law; an earlier run in `folder` gives way."""
    from ..config import config as configs
    from ..run.run import train

    shipped = configs.load("three_body_ppo")
    cfg = dataclasses.replace(
        shipped,
        name=LIVE.replace(" ", "-"),
        seed=int(seed),
        env={**shipped.env, "pool_size": budget.pool},
        train={**shipped.train, **budget.train, "total_steps": budget.steps},
        evaluate=dataclasses.replace(
            shipped.evaluate, every=budget.every, instances=budget.validation, against="tuned"
        ),
    )
    if (folder / "config.json").exists():  # only what is a run is removed
        shutil.rmtree(folder)
    return train(cfg, out=folder)


def _compare_orbits(file: Path, shipped: Any, seed: int, budget: Budget) -> Any:
    from ...controllers.file import load_learned
    from ..evaluate.compare import compare

    learned = {LIVE: load_learned(file), SHIPPED_ORBITS: shipped, FORMULA: load_learned(FORMULA)}
    return compare(
        "three_body", METHOD, learned, seed, budget.instances, headline=LIVE, repeats=budget.rounds,
        n_validation=budget.choose, single=False,
    )  # fmt: skip


def _solve_one(file: Path, seed: int) -> dict[str, Any]:
    """One orbit with the exported file through the public face: counts, and how far the energy drifts."""
    from ... import problems, solve

    problem = problems.make("three_body", seed=int(seed))
    sol = solve(problem, method=METHOD, controller=str(file), rtol=1e-6, atol=1e-9)
    if not sol.success:
        raise RuntimeError(f"the exported controller failed on three_body, instance {seed}: {sol.message}")
    energy = problem.invariant("energy", sol.t[[0, -1]], sol.y[[0, -1]])
    drift = float(abs(energy[1] - energy[0]) / abs(energy[0]))
    s = sol.stats
    counts = {"nfev": int(s.nfev), "naccept": int(s.naccept), "nreject": int(s.nreject), "nfallback": int(s.nfallback)}
    return {"instance": int(seed), "rtol": 1e-6, **counts, "energy_drift": drift}


def _train_field(seed: int, budget: Budget, tell: Teller) -> Any:
    import torch

    from ..neural.digits_field import digits_demo
    from ..run.progress import Progress

    torch.set_num_threads(1)  # two threads on a small network cost more than they give
    bar = Progress("neural ODE on digits", budget.epochs, "epochs")
    try:
        trained = digits_demo(
            epochs=budget.epochs, hidden=budget.hidden, seed=int(seed),
            log=lambda row: bar.update(row["epoch"], loss=row["loss"], accuracy=row["accuracy"]),
        )  # fmt: skip
    finally:
        bar.close()
    tell.field(trained)
    return trained


def _keep(comparison: Any, data: dict[str, Any], folder: Path, stem: str) -> dict[str, Path]:
    """Write the whole table as text and JSON, and the picture of it."""
    from ..evaluate.picture import picture

    paths = {
        kind: folder / f"{stem}.{suffix}" for kind, suffix in (("table", "txt"), ("json", "json"), ("picture", "png"))
    }
    paths["table"].write_text(exact_rows(comparison))
    paths["json"].write_text(json_text.dumps(data, indent=2, allow_nan=False) + "\n")
    picture(comparison, paths["picture"])
    return paths
