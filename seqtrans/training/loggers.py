"""Where the numbers of a run go."""

import json
from collections.abc import Mapping
from pathlib import Path


class JsonLinesLogger:
    """Appends one JSON object per call to a file. See ``MetricsLogger``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See ``MetricsLogger.log``; the line is in the file when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
