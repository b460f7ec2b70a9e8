"""Unicode normalization of text, and its place in sentencepiece's model files."""

from collections.abc import Callable

import sentencepiece

from seqtrans.translation.tokenization.config import Rule
from seqtrans.translation.tokenization.sampling.model_file import SPACE, message

# What sentencepiece has for spaces, takes for the end of a word, and skips lines for; in models
# that change nothing, characters that Unicode keeps for such uses ("noncharacters") replace them.
_RESERVED = {SPACE: "\ufdd0", "\t": "\ufdd1", "\u2585": "\ufdd2"}
_REPLACED = {shown: own for own, shown in _RESERVED.items()}

_NORMALIZER, _DENORMALIZER = 3, 5  # fields of a model file
_NAME, _CHARACTERS, *_ABOUT_SPACES = range(1, 6)  # fields of these


def prepared_for(rule: Rule) -> Callable[[str], str]:
    """Return a function that normalizes a line of training text as a model of ``rule`` does."""
    if rule == "identity":
        escapes = str.maketrans(_RESERVED)
        return lambda line: line.translate(escapes)
    normalizer = sentencepiece.SentencePieceNormalizer(
        rule_name=rule, add_dummy_prefix=False, escape_whitespaces=False
    )
    return lambda line: normalizer.normalize(line.encode("utf-8", "replace")).decode()


def with_rule(model: bytes, rule: Rule) -> bytes:
    """Return a model file that differs from ``model`` in how it normalizes text before cutting it.

    With ``identity`` all text comes back as it was, but for spaces at the ends of a line or in a
    row. ``model`` must have been trained with ``identity`` on text that was ``prepared_for`` its
    rules.
    """
    # Of fields that are there twice the last counts; what it leaves out stays as it was.
    if rule != "identity":
        named = sentencepiece.SentencePieceNormalizer(rule_name=rule)
        return model + message(_NORMALIZER, named.serialized_normalizer_spec())
    there, back = _replacing(_RESERVED), _replacing(_REPLACED)
    back += b"".join(bytes([flag << 3, 0]) for flag in _ABOUT_SPACES)
    return model + message(_NORMALIZER, there) + message(_DENORMALIZER, back)


def _replacing(characters: dict[str, str]) -> bytes:
    """Return a normalizer that replaces some characters."""
    sentencepiece.set_min_log_level(2)  # errors, which are also raised
    normalizer = sentencepiece.SentencePieceNormalizer(norm_map=list(characters.items()))
    return message(_NAME, b"identity") + normalizer.serialized_normalizer_spec()
