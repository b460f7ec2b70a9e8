"""Names of the details of translations; imports nothing heavy, for the command line."""

from collections.abc import Sequence
from typing import Literal, get_args

from seqtrans.errors import SeqtransError

Detail = Literal["alignment", "confidence", "attention", "warnings"]
"""What JSON lines can say besides the translation; see ``Describer``."""


def check_details(names: Sequence[str]) -> tuple[Detail, ...]:
    """Return the names of details, each once, in the order of ``Detail``.

    Raises:
        SeqtransError: There is no such detail.
    """
    for name in names:
        if name not in get_args(Detail):
            known = ", ".join(get_args(Detail))
            raise SeqtransError(f"there is no detail {name!r}: choose among {known}")
    return tuple(name for name in get_args(Detail) if name in names)
