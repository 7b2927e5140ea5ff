"""Every controller of the zoo has a card with the same sections, which says what its file says."""

import re

import pytest

from stepsmith.controllers import zoo
from stepsmith.controllers.file import load_controller

SECTIONS = ("Intended use.", "Methods.", "Training.", "Measured", "Limits.")
#: what a card calls the actions of a file
WORDS = {
    "residual": "the step size", "threshold": "the acceptance threshold", "hold": "the width of the dead band",
    "refresh": "when the Jacobian is renewed",
}  # fmt: skip
CARDS = [*zoo.names(), *(name + zoo.STRENGTH for name in zoo.strengths())]


def section(text, name):
    """One section of a card on one line, without its heading."""
    found = re.search(rf"^\*\*{re.escape(name)}\*\*(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {name}"
    return " ".join(found[1].split())


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_its_sections_in_order(name):
    text = zoo.card(name)
    assert text.startswith(f"# {name.removesuffix(zoo.STRENGTH)}\n")
    places = [text.index(f"\n**{heading}") for heading in SECTIONS]
    assert places == sorted(places)
    assert all(len(section(text, heading)) > 40 for heading in SECTIONS if heading != "Measured")
    assert re.search(r"[.\d]\d", text[places[3] :]), "evidence is a figure"


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_says_what_the_file_says(name):
    controller, text = load_controller(name), zoo.card(name)
    made, methods = controller.provenance, section(text, "Methods.")
    trained = made.get("methods") or [controller.trained_method]
    form = r"Trained with (.*?)\. It reads (\d+) features? of the attempt record and decides (.*?)\. "
    found = re.match(form, methods)
    assert found is not None
    assert sorted(found[1].split(" and ")) == sorted(trained)
    assert int(found[2]) == len(controller.decision.observation.features)
    assert re.split(", | and ", found[3]) == [WORDS[action.name] for action in controller.decision.actions]
    scale = re.search(r"Its tolerance scale is ([\d.]+\d)\. ", methods)
    assert float(scale[1] if scale else 1.0) == pytest.approx(controller.tolerance_scale, rel=1e-12)
    assert scale is not None or "It has no tolerance scale." in methods
    training = text[text.index("**Training.**") : text.index("**Measured")]  # commands may stand apart
    assert set(re.findall(r"--seed (\d+)", training)) == {str(made["seed"])}
    assert controller.name == name


@pytest.mark.parametrize("name", zoo.strengths())
def test_a_strength_s_card_says_what_the_file_says(name):
    pytest.importorskip("torch")
    from stepsmith.controllers.strengths import policy_file

    network, text = policy_file.read(name), zoo.card(name + zoo.STRENGTH)
    assert f"It reads {len(network.features)} features of the training run" in section(text, "Methods.")
    training = section(text, "Training.")
    assert f"--seed {network.provenance['seed']}`" in training and f"{network.provenance['steps']:,} dec" in training
    weights = sum(weight.size + bias.size for weight, bias, _ in network.layers)
    assert f"{weights} weights" in section(text, "Network.")


def test_the_check_sees_a_section_that_is_missing():
    with pytest.raises(AssertionError, match="no section Limits"):
        section(zoo.card("e5").replace("**Limits.**", "Limits"), "Limits.")
