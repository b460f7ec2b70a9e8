"""Embeddings start from the vectors of a file, and files that don't fit are refused in one line."""

import pickle

import numpy as np
import pytest
import torch

from seqtrans.errors import DataError
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.recipe.pretrained_embeddings import use_pretrained
from seqtrans.translation.recipe.schema import PretrainedEmbeddings
from seqtrans.translation.tokenization.segmenters import train_segmenters
from seqtrans.translation.tokenization.words_and_characters import WordsConfig
from tests.support.command_line import RECIPE, seqtrans, write_corpus

DIM = 3


@pytest.fixture
def segmenters(tmp_path):
    pairs = lambda: iter([("a b c", "x y")])  # noqa: E731
    return train_segmenters(WordsConfig(), pairs, tmp_path / "vocabulary")


@pytest.fixture
def model(segmenters):
    config = ModelConfig(
        encoder=RecurrentEncoderConfig(hidden_dim=DIM),
        decoder=RecurrentDecoderConfig(hidden_dim=DIM),
    )
    torch.manual_seed(0)
    return EncoderDecoder(config, *(len(side.pieces) for side in segmenters))


def ids(segmenter, words):
    return segmenter.encode([words])[0]


@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_words_of_a_text_file_get_its_vectors(tmp_path, segmenters, model, header):
    file = tmp_path / "some.vec"
    file.write_text(f"{header}a 1 0 0 \nother 9 9 9\nc 0 -3 0\na 7 7 7\n")
    before = model.source_embedding.weight.detach().clone()
    target = model.target_embedding.weight.detach().clone()
    (message,) = use_pretrained(PretrainedEmbeddings(source=file), model, segmenters)
    assert message == f"source embeddings: 2 of 7 tokens from {file}"
    a, b, c = ids(segmenters.source, "a b c")
    expected = before.clone()
    expected[a], expected[c] = torch.tensor([[0.5, 0, 0], [0, -1.5, 0]])  # of mean length 1
    torch.testing.assert_close(model.source_embedding.weight.detach(), expected)
    assert torch.equal(model.source_embedding.weight[b], before[b])
    assert torch.equal(model.target_embedding.weight, target)


def test_a_token_that_begins_a_word_has_the_vector_of_the_word(tmp_path, segmenters, model):
    class Pieces:
        specials = segmenters.source.specials
        pieces = ("<pad>", "<s>", "</s>", "<unk>", "\u2581the", "the", "\u2581of")

    (tmp_path / "a.vec").write_text("the 1 0 0\nof 0 1 0\n\u2581of 0 0 1\n")
    sides = type(segmenters)(source=Pieces(), target=segmenters.target)
    use_pretrained(PretrainedEmbeddings(source=tmp_path / "a.vec"), model, sides)
    expected = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(model.source_embedding.weight[4:7].detach(), expected)


def test_rows_of_an_array_are_tokens(tmp_path, segmenters, model):
    rows = np.random.default_rng(0).normal(size=(6, DIM))
    np.save(tmp_path / "all.npy", rows)
    use_pretrained(PretrainedEmbeddings(target=tmp_path / "all.npy"), model, segmenters)
    expected = torch.tensor(rows / np.linalg.norm(rows, axis=1).mean()).float()
    torch.testing.assert_close(model.target_embedding.weight.detach(), expected)


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def array_of_objects(path):
    np.save(path, np.array([Malicious()], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.vec", lambda p: p.write_text("a 1 2\n"), r"a\.vec:1: has 2 numbers, but .* has 3"),
        ("a.vec", lambda p: p.write_text("a 1 2 x\n"), r"a\.vec:1: a word must be followed by"),
        ("a.vec", lambda p: p.write_text("a 1 2 nan\n"), r"a\.vec:1: has an infinite number"),
        ("a.vec", lambda p: p.write_text("z 1 2 3\n"), "has no vector of any of the 7 tokens"),
        ("a.vec", lambda p: p.write_bytes(b"a \xff"), "UTF-8"),
        ("a.npy", lambda p: np.save(p, np.ones((6, 3))), "in 7 rows, .* and 3 columns"),
        ("a.npy", lambda p: np.save(p, np.ones((7, 3), int)), "must have floating-point numbers"),
        ("a.npy", lambda p: np.save(p, np.full((7, 3), np.nan)), "has infinite numbers or NaN"),
        ("a.npy", lambda p: p.write_bytes(b"\x93NUMPY"), r"is no \.npy file"),
        ("a.npy", array_of_objects, r"is no \.npy file of numbers"),
        ("a.npy", lambda p: p.write_bytes(pickle.dumps(Malicious())), r"is no \.npy file"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, segmenters, model, name, write, message):
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        use_pretrained(PretrainedEmbeddings(source=tmp_path / name), model, segmenters)


def test_a_run_starts_from_them(tmp_path):
    write_corpus(tmp_path, "abcdefgh")
    (tmp_path / "words.vec").write_text("".join(f"{w} {'2 ' * 16}\n" for w in "abcdefgh"))
    (tmp_path / "r.yaml").write_text(
        RECIPE.replace("training:\n", "training:\n  freeze: [source_embedding.weight]\n")
        + "pretrained_embeddings: {source: words.vec}\n"
    )
    done = seqtrans(tmp_path, "train", "r.yaml")
    assert done.returncode == 0, done.stderr
    assert "source embeddings: 8 of 12 tokens from" in done.stderr
    again = seqtrans(tmp_path, "train", "r.yaml", "--resume")
    assert again.returncode == 0
    refused = seqtrans(tmp_path, "train", "r.yaml", "--run", "runs/no", "--set", "init_from=runs/r")
    assert refused.returncode == 2
    assert "pretrained_embeddings and init_from both set embeddings" in refused.stderr
