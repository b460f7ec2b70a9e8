"""What every format of corpora must satisfy; a new one needs a writer here."""

import gzip
import json
from pathlib import Path
from typing import get_args

import pytest
from safetensors.torch import load_file

from seqtrans.config import dump, loads
from seqtrans.errors import DataError
from seqtrans.translation.data.formats.generated import GeneratedPairs
from seqtrans.translation.data.formats.jsonl import JsonLinesFile
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.formats.tmx import TmxFile
from seqtrans.translation.data.formats.tsv import TsvFile
from seqtrans.translation.data.parallel_corpus import CorpusFormat, read_pairs
from tests.support.command_line import RECIPE, seqtrans, write_corpus

PAIRS = [("one", "eins"), ("two words", "zwei Wörter"), ("", "leer"), ("x\u2028y", "𝄞")]


def write_text(folder, name, pairs):
    for ending, side in (("src", 0), ("tgt", 1)):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        (folder / f"{name}.{ending}").write_text(text, encoding="utf-8")
    return TextFiles(source=folder / f"{name}.src", target=folder / f"{name}.tgt")


def write_tsv(folder, name, pairs):
    path = folder / f"{name}.tsv"
    path.write_text("".join(f"{t}\t7\t{s}\n" for s, t in pairs), encoding="utf-8")
    return TsvFile(tsv=path, source_column=3, target_column=1)


def write_jsonl(folder, name, pairs):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"t": {"a": s, "b": t}}) + "\n" for s, t in pairs))
    return JsonLinesFile(file=path, source_key="t.a", target_key="t.b")


def write_tmx(folder, name, pairs):
    units = "".join(
        f"<tu><tuv xml:lang='de-AT'><seg>{t}</seg></tuv>\n"
        f"<tuv xml:lang='en'><seg>{s}</seg></tuv></tu>\n"
        for s, t in pairs
    )
    path = folder / f"{name}.tmx"
    path.write_text(f"<tmx version='1.4'><body>\n{units}</body></tmx>", encoding="utf-8")
    return TmxFile(file=path, source_language="en", target_language="de")


WRITERS = {"text": write_text, "tsv": write_tsv, "jsonl": write_jsonl, "tmx": write_tmx}
FORMATS = get_args(get_args(CorpusFormat)[0])
KINDS = [cls.kind for cls in FORMATS if cls is not GeneratedPairs]  # which has no files


@pytest.fixture(params=KINDS)
def write(request):
    return WRITERS[request.param]


def test_pairs_are_those_that_were_written(tmp_path, write):
    corpus = write(tmp_path, "a", PAIRS)
    assert list(read_pairs(corpus)) == PAIRS
    assert list(read_pairs(corpus, corpus)) == PAIRS * 2
    for path in corpus.paths:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_pairs(corpus)) == PAIRS


def test_files_that_are_gone_cut_or_no_text_are_named(tmp_path, write):
    corpus = write(tmp_path, "a", PAIRS)
    path = corpus.paths[0]
    content = path.read_bytes()
    for harm in (gzip.compress(content)[:-9], b"\0" * 5000, None):
        path.write_bytes(harm) if harm else path.unlink()
        with pytest.raises(DataError) as error:
            list(read_pairs(corpus))
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_a_corpus_without_pairs_is_named(tmp_path, write):
    corpus = write(tmp_path, "a", [])
    with pytest.raises(DataError, match=str(corpus.paths[0])):
        list(read_pairs(corpus))


def as_recipe(*corpora):
    """A list of corpora as a recipe writes it."""
    return "[" + ", ".join(json.dumps(stored(corpus)) for corpus in corpora) + "]"


def stored(corpus):
    fields = {name: getattr(corpus, name) for name in corpus.__dataclass_fields__}
    return {key: str(v) if isinstance(v, Path) else v for key, v in fields.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    write_corpus(folder, "abcdefgh")
    (folder / "toy.yaml").write_text(RECIPE)
    return folder


def lines(folder, name):
    return list(read_pairs(TextFiles(source=folder / f"{name}.src", target=folder / f"{name}.tgt")))


def train(folder, run, corpora, *more):
    train, validation = corpora
    settings = {"data.train": as_recipe(train), "data.validation": as_recipe(validation)}
    settings |= {"training.max_steps": 2, "training.validate_every_steps": 2}
    changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return seqtrans(folder, "train", "toy.yaml", "--run", run, *changes, *more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_the_same_from_files_of_any_format(folder, kind):
    """Also what it is judged by; and it goes on only with the text that it has learnt from."""
    results = []
    for name, place in (("text", folder / f"{kind}-as-text"), (kind, folder / kind)):
        place.mkdir()
        corpora = [WRITERS[name](place, n, lines(folder, n)) for n in ("train", "dev")]
        run = place / "run"
        done = train(folder, run, corpora)
        assert done.returncode == 0, done.stderr
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        scores = {k: v for line in metrics for k, v in line.items() if k.startswith("valid/")}
        results.append((load_file(run / "checkpoints/2/model.safetensors"), scores))
    (one, valid), (other, again) = results
    assert all((one[name] == other[name]).all() for name in one)
    assert valid == again
    done = train(folder, run, corpora, "--resume", "--set", "training.max_steps=3")
    assert done.returncode == 0, done.stderr
    WRITERS[kind](place, "train", lines(folder, "train")[:-1])
    done = train(folder, run, corpora, "--resume", "--set", "training.max_steps=4")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{corpora[0].paths[0]}" in done.stderr
    assert f"not what {run} learnt from until now" in done.stderr


def test_a_corpus_is_stored_as_it_is_read(tmp_path, write):
    corpus = write(tmp_path, "a", PAIRS)
    assert loads(type(corpus), dump(corpus), "r.yaml") == corpus
