"""The text that every system of ``equal_time.py`` trains on: the same lines, the same pieces.

A prepared folder holds raw lines and pieces of the splits ``train``, ``dev`` and ``test``,
``sentencepiece.model`` and ``vocabulary.txt``; see ``shared_corpus.py``.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from shared_corpus import Pair, learn_pieces, read_pairs, write_split

Files = tuple[str, str]
NAMED: dict[str, dict[str, Files]] = {
    "multi30k-en-de": {
        "train": ("multi30k/train.en", "multi30k/train.de"),
        "test": ("multi30k/val.en", "multi30k/val.de"),  # its own test set is not for trials
    },
    "natural-en-de": {
        split: (f"en-de/natural/{split}.en.gz", f"en-de/natural/{split}.de.gz")
        for split in ("train", "dev", "test")
    },
}


def files_of(arguments: argparse.Namespace) -> dict[str, Files]:
    """Return source and target file of ``train``, ``test`` and perhaps ``dev``."""
    if arguments.data == "paths":
        given = {name: getattr(arguments, name) for name in ("train", "dev", "test")}
        if not (given["train"] and given["test"]):
            sys.exit("--data paths needs --train SOURCE TARGET and --test SOURCE TARGET")
        return {name: tuple(files) for name, files in given.items() if files}
    if arguments.data_folder is None:
        sys.exit(f"--data {arguments.data} needs --data-folder: {NAMED[arguments.data]}")
    return {
        split: (str(arguments.data_folder / source), str(arguments.data_folder / target))
        for split, (source, target) in NAMED[arguments.data].items()
    }


def prepare(arguments: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Make the folder described above; return the pairs of every split.

    No split has pairs of more than 250 pieces. Where no files are given for ``dev``, it is the end
    of the training text. What is there already for the same options is left.
    """
    files, record = files_of(arguments), folder / "settings.json"
    names = ("pairs", "dev_lines", "test_lines", "vocabulary")
    asked = {"files": files, **{name: getattr(arguments, name) for name in names}}
    if record.exists():
        known = json.loads(record.read_text())
        if known["asked"] == json.loads(json.dumps(asked)):
            return known["counts"]
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("raw", "pieces"):
        (folder / part).mkdir(parents=True)
    splits: dict[str, list[Pair]] = {name: list(read_pairs(both)) for name, both in files.items()}
    if "dev" not in splits:
        splits["dev"] = splits["train"][-arguments.dev_lines :]
        del splits["train"][-arguments.dev_lines :]
    most = {"train": arguments.pairs, "dev": arguments.dev_lines, "test": arguments.test_lines}
    splits = {name: pairs[: most[name]] for name, pairs in splits.items()}
    processor = learn_pieces(splits["train"], arguments.vocabulary, folder, "unigram")
    counts = {
        name: len(write_split(pairs, name, processor, folder)) for name, pairs in splits.items()
    }
    record.write_text(json.dumps({"asked": asked, "counts": counts}, indent=1))
    return counts
