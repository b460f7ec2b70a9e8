"""Names of a model's tensors by shell patterns."""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from seqtrans.errors import TrainingError


def matching(pattern: str, names: Iterable[str], key: str, what: str) -> list[str]:
    """Return the names that a pattern matches.

    Args:
        pattern: A full name, or one with ``*``, which also crosses dots: ``encoder.*``.
        names: All there are.
        key: Of the recipe, for the error.
        what: What has these names, for the error.

    Raises:
        TrainingError: It means none; the message has the names that look most like it.
    """
    names = list(names)
    matched = [name for name in names if fnmatchcase(name, pattern)]
    if not matched:
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
        raise TrainingError(
            f"{key}: no {what} matches '{pattern}'; there are {', '.join(near)}, ..."
        )
    return matched
