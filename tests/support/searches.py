"""Searches with other settings, and what they need to know of a language."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from seqtrans.translation.inference.batch_search import search_input
from seqtrans.translation.protocols import Specials
from seqtrans.translation.search.rules import OutputRules

OF_RULES = {field.name for field in fields(OutputRules)}


def with_settings(search, **settings):
    """The search with other settings, be they its own or those of its rules."""
    of_rules = {name: value for name, value in settings.items() if name in OF_RULES}
    own = {name: value for name, value in settings.items() if name not in OF_RULES}
    return replace(search, rules=replace(search.rules, **of_rules), **own)


@dataclass(frozen=True)
class Language:
    """The part of a segmenter that a search looks at."""

    specials: Specials
    pieces: Sequence[str] = ()

    def encode(self, lines):
        raise NotImplementedError

    def sample(self, lines, seed):
        raise NotImplementedError

    def decode(self, ids):
        raise NotImplementedError


def inputs_of(sources):
    """Sentences as a translator gives them to a search."""
    return [search_input(source) for source in sources]
