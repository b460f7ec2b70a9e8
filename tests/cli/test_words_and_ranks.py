# ruff: noqa: F811 - fixtures
"""``seqtrans embeddings``, ``vocabulary`` and ``rerank``."""

import json
from collections import Counter

import pytest
import sacrebleu
import torch
from torch.nn.functional import cosine_similarity

from seqtrans.translation.recipe.load_run import load_run
from tests.support.trained_translator import home, json_lines, run  # noqa: F401 - a fixture


def said_by(home, capsys, *arguments):
    code, said = run(home, *arguments)
    assert code == 0, said
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_nearest_tokens_have_the_highest_cosine(home, capsys, side):
    loaded = load_run(home / "run")
    segmenter = getattr(loaded.segmenters, side)
    weight = getattr(loaded.model, f"{side}_embedding").weight.double()
    special = set(segmenter.specials)

    def expected(vector, *without):
        cosine = cosine_similarity(vector[None], weight)
        order = [i for i in cosine.argsort(descending=True).tolist() if i not in special]
        kept = [i for i in order if segmenter.pieces[i] not in without][:3]
        return [[segmenter.pieces[i], f"{cosine[i]:.4f}"] for i in kept]

    unit = {p: weight[i] / weight[i].norm() for i, p in enumerate(segmenter.pieces)}
    options = ("--side", side, "--count", "3")
    found = said_by(home, capsys, "embeddings", "run", "nearest", "a", *options)
    assert found == expected(unit["a"], "a")
    found = said_by(home, capsys, "embeddings", "run", "nearest", "ab", *options)
    assert found == expected(unit["a"] + unit["b"], "a", "b")
    found = said_by(home, capsys, "embeddings", "run", "analogy", "a", "b", "c", *options)
    assert found == expected(unit["b"] - unit["a"] + unit["c"], "a", "b", "c")


def test_words_are_drawn(home):
    pytest.importorskip("matplotlib", reason="extra plots")
    code, said = run(home, "embeddings", "run", "plot", "a", "b", "c", "d", "-o", "words.png")
    assert code == 0, said
    assert (home / "words.png").read_bytes().startswith(b"\x89PNG")


def test_a_vocabulary_lists_tokens_and_their_counts(home, capsys):
    (segmenter, _) = load_run(home / "run").segmenters
    rows = said_by(home, capsys, "vocabulary", "run", "--side", "source")
    assert [row[1] for row in rows] == list(segmenter.pieces)
    assert [row[2] for row in rows if len(row) == 3] == ["pad", "bos", "eos", "unk"]
    rows = said_by(home, capsys, "vocabulary", "run", "--side", "source", "--counts")
    lines = (home / "train.src").read_text().splitlines()
    expected = Counter(i for ids in segmenter.encode(lines) for i in ids)
    assert [int(row[2]) for row in rows] == [expected[i] for i in range(len(rows))]


LISTS = [
    ["the cat sat", "a cat sat here", "the cat sat on the mat"],
    ["it is", "it is so and so"],
    ["", "x"],
]
REFERENCES = ["the cat sat on a mat", "it is so", "x"]


@pytest.fixture
def ranked(tmp_path):
    with (tmp_path / "nbest").open("w") as file:
        for texts in LISTS:
            first, *others = (
                {"translation": t, "score": -float(len(t)), "extra": "kept"} for t in texts
            )
            file.write(json.dumps({**first, "alternatives": others}) + "\n")
    (tmp_path / "ref").write_text("".join(f"{line}\n" for line in REFERENCES))
    return tmp_path


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("chrf", lambda t, r: sacrebleu.sentence_chrf(t, [r]).score),
        ("bleu", lambda t, r: sacrebleu.sentence_bleu(t, [r]).score),
    ],
)
def test_the_best_by_a_metric_is_sacrebleus(ranked, metric, score):
    arguments = ("rerank", "nbest", "--by", metric, "--reference", "ref")
    assert run(ranked, *arguments, "-o", "best")[0] == 0
    expected = [
        max(texts, key=lambda text, r=reference: round(score(text, r), 9))
        for texts, reference in zip(LISTS, REFERENCES, strict=True)
    ]
    assert (ranked / "best").read_text().splitlines() == expected
    assert run(ranked, *arguments, "--format", "jsonl", "-o", "order")[0] == 0
    for line, texts in zip(json_lines((ranked / "order").read_text()), LISTS, strict=True):
        every = [line, *line["alternatives"]]
        assert sorted(c["translation"] for c in every) == sorted(texts)
        assert all(c["extra"] == "kept" for c in every)


def test_any_number_can_decide(ranked):
    by_length = [sorted(texts, key=len) for texts in LISTS]  # the score is the length, negative
    for more, place in (((), 0), (("--lowest",), -1)):
        assert run(ranked, "rerank", "nbest", "--by", "score", *more, "-o", "best")[0] == 0
        found = (ranked / "best").read_text().splitlines()
        assert found == [texts[place] for texts in by_length]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rerank", "nbest", "--by", "chrf"), "--by chrf needs --reference"),
        (("rerank", "nbest", "--by", "score", "--reference", "ref"), "takes no --reference"),
        (("rerank", "nbest", "--by", "cost"), "no number 'cost'; the first has score"),
        (("rerank", "ref", "--by", "score"), "ref:1: is no JSON object with 'translation'"),
        (("rerank", "nbest", "--by", "bleu", "--reference", "few"), "has only 1 lines"),
        (("rerank", "nbest", "--by", "bleu", "--reference", "many"), "fewer lines than the ref"),
    ],
)
def test_mistakes_of_ranking_are_one_line(ranked, arguments, message):
    (ranked / "few").write_text("a\n")
    (ranked / "many").write_text("a\n" * 4)
    code, said = run(ranked, *arguments, "-o", "best")
    assert (code, said.count("\n")) == (2, 1)
    assert message in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nearest", "é"), "'é' is not in the vocabulary"),
        (("nearest", "a", "b"), "nearest takes 1 word, not 2"),
        (("analogy", "a", "b"), "analogy takes 3 words, not 2"),
        (("plot", "a", "b", "a"), "plot takes 3 different words or more, not 2"),
        (("plot", "a", "b", "c", "-o", "x.pdf"), "x.pdf: must end in .png"),
    ],
)
def test_mistakes_about_words_are_one_line(home, arguments, message):
    code, said = run(home, "embeddings", "run", *arguments)
    assert (code, said.count("\n")) == (2, 1)
    assert message in said
    assert torch.is_inference_mode_enabled() is False
