"""What a fit keeps in its folder while it runs: finished steps, and what it has said."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ...integrators.compile.cache import function_key
from ...integrators.core.errors import OptionError
from ...integrators.problems.families import Family

FILE = "fit-steps.json"


class Notes:
    """Steps by name, JSON values, in `folder`; steps of another family, error or seed are an OptionError.

    said: lines so far.  steps: comparisons of the choice.
    """

    def __init__(self, folder: Path, family: Family, error: float, seed: int, minutes: float) -> None:
        self.folder, self.said, self.steps = folder, [], []  # type: tuple[Path, list[str], list[dict[str, Any]]]
        batch = family.split("validation", 2, seed)
        key = hashlib.sha256(repr((family.name, function_key(family.rhs), error, seed, family.tolerances)).encode())
        key.update(batch.y0.tobytes() + batch.p.tobytes() + batch.t1.tobytes())
        self.digest = key.hexdigest()[:16]
        self.kept: dict[str, Any] = {}
        path = folder / FILE
        if path.is_file():
            data = self._read(path)
            if data.get("of") != self.digest:
                raise OptionError(
                    f"{folder} holds a fit of another family, wanted error or seed: give another folder, or remove it"
                )
            self.kept = data["steps"]
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            data = json.loads(path.read_text())
        except ValueError:
            raise OptionError(f"{path} is damaged: remove it, and the fit begins again") from None
        return data if isinstance(data, dict) and isinstance(data.get("steps"), dict) else {}

    def get(self, name: str) -> Any:
        """A finished step, or None."""
        return self.kept.get(name)

    def put(self, name: str, value: Any) -> None:
        """Keep a finished step; the file is put in place whole."""
        self.kept[name] = value
        path = self.folder / FILE
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps({"of": self.digest, "steps": self.kept}, indent=1))
        aside.replace(path)

    def say(self, text: str, aloud: bool) -> None:
        """Note a line, and show it on standard error."""
        self.said.append(text)
        if aloud:
            print(text, file=sys.stderr, flush=True)
