"""The blocks of the README."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(beginning):
    """The fenced block of the README that holds a line of this beginning."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (found,) = [b for b in blocks if re.search(rf"^{re.escape(beginning)}", b, re.MULTILINE)]
    return found
