"""Translations as lines of text or of JSON."""

from typing import Literal

from seqtrans.runtime.files.strict_json import as_json
from seqtrans.translation.inference.translator import Candidate, Translation

Format = Literal["text", "jsonl"]


def render(translation: Translation, output_format: Format) -> str:
    """One line, without its end: the text alone, or JSON with score, tokens and alternatives.

    Of a line that was translated in parts, ``parts`` says how many of the tokens are of each.
    """
    if output_format == "text":
        return translation.text
    fields = _fields(translation)
    fields["alternatives"] = [_fields(other) for other in translation.alternatives]
    return as_json(fields)


def _fields(candidate: Candidate) -> dict[str, object]:
    fields: dict[str, object] = {
        "translation": candidate.text,
        "score": candidate.score,
        "tokens": list(candidate.tokens),
    }
    return fields | ({"parts": list(candidate.parts)} if candidate.parts else {})
