"""One corpus for every system: the same pairs, the same pieces, the same batches.

A prepared folder holds

    raw/{train,test}.{source,target}      lines as they were, without pairs that a system can't take
    pieces/{train,test}.{source,target}   the same, pieces of the joint vocabulary between spaces
    sentencepiece.model, vocabulary.txt   one piece a line, the special ones left out
    batches.json                          line numbers of seqtrans's batches, in its order
"""

import gzip
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from contract import SEED
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from seqtrans.translation.data.batch import Plan, plan_by_length, plan_epoch
from seqtrans.translation.data.encoded_corpus import block_seed

SIDES = ("source", "target")
LONGEST = 250  # pieces of a sentence; also keeps pairs below every system's own limit
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")

Pair = tuple[str, str]


@dataclass(frozen=True)
class CorpusSettings:
    """Where the text comes from, and how it is cut.

    Args:
        train: Source and target file to train on.
        test: Source and target file to decode.
        vocabulary: Joint pieces, special ones included.
        batch_tokens: Target positions of a training batch, padding included.
        decode_tokens: Source positions of a decoding batch, padding included.
        most_test: At most so many lines of the test files are used.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    vocabulary: int = 8000
    batch_tokens: int = 4096
    decode_tokens: int = 2048
    most_test: int = 2000


def prepare(settings: CorpusSettings, folder: Path) -> None:
    """Make the folder described above; if it holds these settings already, leave it."""
    record, asked = folder / "settings.json", json.dumps(asdict(settings), indent=1)
    if record.exists() and record.read_text() == asked:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("raw", "pieces"):
        (folder / part).mkdir(parents=True)
    train = list(read_pairs(settings.train))
    processor = learn_pieces(train, settings.vocabulary, folder)
    lengths = {"train": write_split(train, "train", processor, folder)}
    first = {
        source: (source, target) for source, target in reversed(list(read_pairs(settings.test)))
    }
    test = list(reversed(first.values()))[: settings.most_test]  # once: seqtrans decodes it once
    lengths["test"] = write_split(test, "test", processor, folder)
    plans = {
        "train": plan_epoch(
            *lengths["train"].T,
            batch_tokens=settings.batch_tokens,
            seed=block_seed(SEED, 0),
            epoch=0,
        ),
        "test": plan_by_length(lengths["test"][:, 0], batch_tokens=settings.decode_tokens),
    }
    batches = {split: _as_lists(plan) for split, plan in plans.items()}
    (folder / "batches.json").write_text(json.dumps(batches))
    record.write_text(asked)


def _as_lists(plan: Plan) -> list[list[int]]:
    return [plan[i].tolist() for i in range(len(plan))]


def read_pairs(paths: tuple[str, str]) -> Iterator[Pair]:
    """Pairs of lines that are neither empty nor cut elsewhere than at a newline by some system."""
    files = [_text(Path(path)).split("\n") for path in paths]
    for pair in zip(*files, strict=True):
        if all(len(line.splitlines()) == 1 and line.strip() for line in pair):
            yield pair


def _text(path: Path) -> str:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            return file.read()
    return path.read_text(encoding="utf-8")


def learn_pieces(
    pairs: Sequence[Pair], size: int, folder: Path, kind: str = "bpe"
) -> SentencePieceProcessor:
    """Learn joint pieces; BPE reaches the wanted number on a small corpus too."""
    model = folder / "sentencepiece.model"
    SentencePieceTrainer.train(
        sentence_iterator=(line for pair in pairs for line in pair),
        model_prefix=str(model.with_suffix("")),
        model_type=kind,
        vocab_size=size,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
    )
    processor = SentencePieceProcessor(model_file=str(model))
    pieces = [processor.id_to_piece(i) for i in range(len(SPECIALS), processor.vocab_size())]
    (folder / "vocabulary.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return processor


def write_split(
    pairs: Sequence[Pair], split: str, processor: SentencePieceProcessor, folder: Path
) -> np.ndarray:
    """Write a split raw and in pieces; return pieces per sentence, one row a pair."""
    encoded = [[processor.encode(line, out_type=str) for line in pair] for pair in pairs]
    kept = [i for i, pair in enumerate(encoded) if all(_usable(pieces) for pieces in pair)]
    for side, name in enumerate(SIDES):
        texts = {
            "raw": (pairs[i][side] for i in kept),
            "pieces": (" ".join(encoded[i][side]) for i in kept),
        }
        for part, lines in texts.items():
            path = folder / part / f"{split}.{name}"
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return np.array([[len(pieces) for pieces in encoded[i]] for i in kept])


def _usable(pieces: Sequence[str]) -> bool:
    """True if the sentence is neither empty nor too long, and space separates its pieces."""
    return 0 < len(pieces) <= LONGEST and " ".join(pieces).split() == list(pieces)
