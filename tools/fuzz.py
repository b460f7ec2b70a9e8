"""Search for content that a reader can't take, led by the lines of code that it reaches.

    pip install atheris        # a wheel for Linux; not among the dependencies
    python tools/fuzz.py READER [--seconds N]

READER is one of those below, which take bytes and need no process of their own. Whatever is raised
and is no ``SeqtransError`` ends the search, and the bytes are kept in a file that is named; put
them into a test. ``tests/contracts/test_corrupted_files.py`` tries more kinds of files, blindly.
"""

import argparse
import json
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # pyright: ignore[reportMissingModuleSource]

with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
    include=["seqtrans", "yaml"]
):
    from seqtrans import config
    from seqtrans.errors import SeqtransError
    from seqtrans.images.data.readers.cifar_pickle import read_dictionary
    from seqtrans.runtime.files.text_files import split_lines
    from seqtrans.training.checkpoints.state_schema import check_values, state_from
    from seqtrans.translation.recipe.schema import TranslationRecipe
    from seqtrans.translation.tokenization.sampling.model_file import read_subword_model
    from seqtrans.translation.tokenization.vocabulary import Vocabulary


def recipe(content: bytes) -> object:
    """A recipe, and the recipe that it is dumped as."""
    text = content.decode("utf-8", "replace")
    found = config.loads(TranslationRecipe, text, "fuzz")
    again = config.loads(TranslationRecipe, config.dump(found), "dump")
    if again != found:
        raise RuntimeError("a recipe is not what its dump describes")
    return found


def state(content: bytes) -> object:
    """The values of a checkpoint, as JSON, which is YAML."""
    document = config.parse(content.decode("utf-8", "replace"), "fuzz")
    plain = document.value
    if not isinstance(plain, dict):
        return None
    check_values(document)
    return state_from(plain) if "state" in plain else None


def subwords(content: bytes) -> object:
    """A model of sentencepiece and what is asked of it."""
    model = read_subword_model(content)
    return model.matched, model.byte_ids, model.cuts_words


READERS: dict[str, Callable[[bytes], object]] = {
    "recipe": recipe,
    "state": state,
    "subwords": subwords,
    "pickle": read_dictionary,
    "vocabulary": Vocabulary.from_bytes,
    "lines": lambda content: list(split_lines([content[:9], content[9:]], "fuzz")),
}
SEEDS = {
    "recipe": b"data: {train: [{tsv: a}], validation: [{tsv: b}], batch_tokens: 100}\n"
    b"model: {encoder: {kind: transformer}, decoder: {kind: recurrent}}\n"
    b"training: {max_steps: 1}\n",
    "state": json.dumps({"state": {"step": 1, "stopping": {}}, "metrics": {"loss": 1.5}}).encode(),
    "subwords": b"\n\x0c\n\x01a\x15\x00\x00\x80\xbf\x18\x01\x12\x02\x18\x01",
    "pickle": pickle.dumps({"labels": [1, 2], "data": b"abc"}, protocol=2),
    "vocabulary": b'["a", "b"]',
    "lines": "ä\r\nb\u2028c\n".encode(),
}


def main() -> None:
    """Search for a while."""
    parser = argparse.ArgumentParser(description="Search for content that a reader can't take.")
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    read = READERS[asked.reader]

    def attempt(content: bytes) -> None:
        try:
            read(content)
        except SeqtransError:
            return
        except ValueError:  # those that do not know the name of the file leave the rest to others
            if asked.reader in ("recipe", "lines"):
                raise

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seed").write_bytes(SEEDS[asked.reader])
        limits = [f"-max_total_time={asked.seconds}", "-timeout=5", "-rss_limit_mb=2048"]
        atheris.Setup([sys.argv[0], *limits, folder], attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
