"""JSON that any reader of the standard takes, whatever values it holds."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

# Part of strings in JSON, yet ends of lines for readers that split as ``str.splitlines`` does.
_LINE_ENDS = {ord(end): json.dumps(end)[1:-1] for end in "\x85\u2028\u2029"}


def as_json(value: object, indent: int | None = None) -> str:
    """Plain values as JSON: numbers that are not finite, which JSON lacks, as null.

    Names of files may hold bytes that are not UTF-8, which Python keeps as surrogates; these and
    what may be taken for the end of a line are escaped. Without ``indent`` it is one line.
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
