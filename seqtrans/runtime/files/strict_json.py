"""Write standard JSON, whatever the values: no NaN, no infinity, no invalid UTF-8."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

# Allowed in JSON strings, but line ends for readers that split as ``str.splitlines`` does.
_LINE_ENDS = {ord(end): json.dumps(end)[1:-1] for end in "\x85\u2028\u2029"}


def as_json(value: object, indent: int | None = None) -> str:
    """Return plain values as JSON; NaN and infinity, which JSON lacks, become null.

    File names may have bytes that are not UTF-8, which Python keeps as surrogates; these and
    characters that some readers take for line ends are escaped. Without ``indent`` it is one line.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return text.translate(_LINE_ENDS).encode("utf-8", "backslashreplace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in cast("list[Any]", value)]
    return value
