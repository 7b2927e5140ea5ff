"""The Python of docs/neural.md runs from its first block to its last, in one namespace, as a reader would type it."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[1] / "docs" / "neural.md"


def test_every_block_of_the_page_runs_in_order(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"block {number} of {PAGE.name}", "exec"), names)
    assert len(blocks) > 5 and "reached the end" in capsys.readouterr().out
    assert abs(names["below"].item() - 0.5065783) < 1e-6
    times = names["sol"].event_t.detach()
    assert torch.allclose(times[:2], (2 * torch.tensor([1.0, 5.0]) / 9.8).sqrt()) and times[2].isnan()
