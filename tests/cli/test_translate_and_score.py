# ruff: noqa: F811 - fixtures
"""``seqtrans translate`` and ``seqtrans score`` on a run that was trained for 3 steps."""

import gzip
import json
import math
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

import seqtrans
from seqtrans.errors import RecipeError
from seqtrans.runtime.device import multiplies_bf16
from tests.support.trained_translator import INPUT, home, json_lines, run  # noqa: F401 - a fixture

LINES = [f"{'abcd'[n % 4]}{'dcba. '[n % 6]}{'ab' * (n % 3)} {n}" for n in range(40)]
AS_VALIDATED = ["translate", "run", "input", "--settings", "validation"]


def translate(home, *arguments, name="out"):
    code, said = run(home, "translate", "run", *arguments, "-o", name)
    assert code == 0, said
    return (home / name).read_bytes().decode()


def process(home, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "seqtrans", *arguments],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", "LC_ALL": "C"},
        **options,
    )


def test_a_line_out_for_every_line_in(home):
    lines = translate(home, "input").split("\n")
    assert len(lines) == 8
    assert lines[7] == ""  # after the last line end
    assert lines[1] == lines[2] == ""
    assert lines[0] == lines[6]
    assert all(len(line.splitlines()) <= 1 for line in lines)


def test_pipes_and_files_give_the_same(home):
    expected = translate(home, "input")
    with gzip.open(home / "input.gz", "wb") as file:
        file.write(INPUT.encode())
    assert translate(home, "input.gz") == expected
    out, err = process(home, "translate", "run").communicate(INPUT.encode())
    assert out.decode() == expected
    # The line of 120 characters is said once, the standard output holds data only.
    assert err.decode().count("\n") == 1
    assert "more than max_source_tokens (30)" in err.decode()


def test_json_lines_hold_all_there_is(home):
    texts = translate(home, "input").splitlines()
    found = json_lines(translate(home, "input", "--format", "jsonl", "--n-best", "2"))
    assert [f["translation"] for f in found] == texts
    keys = ("translation", "score", "tokens")
    assert [tuple(f) for f in found if "parts" not in f] == [(*keys, "alternatives")] * 6
    (long,) = (f for f in found if "parts" in f)
    assert tuple(long) == (*keys, "parts", "alternatives")
    assert sum(long["parts"]) == len(long["tokens"])
    assert [len(f["alternatives"]) for f in found] == [1, 0, 0, 1, 1, 1, 1]
    assert found[0]["score"] >= found[0]["alternatives"][0]["score"]
    assert found[0]["translation"] == "".join(found[0]["tokens"]).replace("▁", " ").strip()


def test_options_change_the_search_and_batches_do_not(home):
    (home / "few").write_text("ab cd\n\nabcdabcd. a\n")

    def scores(*arguments):
        return [
            f["score"] for f in json_lines(translate(home, "few", "--format", "jsonl", *arguments))
        ]

    assert scores("--batch-tokens", "20") == pytest.approx(scores("--batch-tokens", "9000"))
    # Both may find the same words, and sum their scores in another order.
    assert scores("--beam-size", "8")[0] >= scores("--beam-size", "1")[0] - 1e-6
    assert scores("--length-penalty", "0")[0] < scores("--length-penalty", "2")[0]
    assert scores("--precision", "bf16")[0] == pytest.approx(scores()[0], rel=0.1)
    assert scores("--checkpoint", "last", "--device", "cpu") == scores()


def test_an_endless_pipe_is_answered_before_it_ends(home):
    with process(home, "translate", "run") as running:
        try:
            for line in (b"ab cd\n", b"\n", b"a\n"):
                running.stdin.write(line)
                running.stdin.flush()
                answer = []
                reader = threading.Thread(
                    target=lambda a=answer: a.append(running.stdout.readline())
                )
                reader.start()
                reader.join(timeout=100)
                assert answer, "no answer while the pipe is open"
                assert answer[0].endswith(b"\n")
        finally:
            running.stdin.close()
        assert running.wait(timeout=100) == 0


def test_a_reader_that_leaves_ends_it_quietly(home):
    with process(home, "translate", "run") as running:
        running.stdin.write(b"a\n")
        running.stdin.flush()
        assert running.stdout.readline()
        running.stdout.close()  # as head -1 does; the input stays open
        running.stdin.write(b"b\n" * 100)
        running.stdin.flush()
        code = running.wait(timeout=100)
        assert (code, running.stderr.read()) == (141, b"")
        running.stdin.close()


def test_output_appears_whole_or_not_at_all(home):
    (home / "kept").write_text("before\n")
    (home / "bad").write_bytes(b"ab\ncd\xff\n")
    code, said = run(home, "translate", "run", "bad", "-o", "kept")
    assert code == 2
    assert "bad:2: not UTF-8: byte 3 of the line" in said
    assert (home / "kept").read_text() == "before\n"
    assert not list(home.glob(".*partial"))
    assert translate(home, "input", name="input2") == translate(home, "input")
    translate(home, "input2", name="input2")  # its own input
    assert (home / "input2").read_text().count("\n") == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "nowhere"], "there is no run directory nowhere"),
        (["translate", "run", "nothing"], "nothing: no such file"),
        (
            ["translate", "run", "--checkpoint", "7"],
            "run has no checkpoint '7'; it has best, last, 3",
        ),
        (["translate", "run", "--n-best", "2"], "--n-best 2 needs --format jsonl"),
        (
            ["translate", "run", "input", "--format", "jsonl", "--n-best", "3"],
            "--n-best: decoding: n_best (3) must not be larger than beam_size (2)",
        ),
        (
            [
                "translate",
                "run",
                "input",
                "--settings",
                "validation",
                "--format",
                "jsonl",
                "--n-best",
                "3",
            ],
            "--n-best: validation.decoding: n_best (3) must not be larger than beam_size (1)",
        ),
        (
            ["translate", "run", "input", "--max-length-factor", "0"],
            "--max-length-factor: decoding.max_length_factor must be a number of more than 0, not",
        ),
        (
            ["translate", "run", "input", "--length-penalty", "inf"],
            "--length-penalty: decoding.length_penalty must be a number",
        ),
        (
            ["translate", "run", "input", "--beam-size", "2", "--set", "n_best=3"],
            "--beam-size --set n_best: decoding: n_best (3) must not be larger than beam_size (2)",
        ),
        (
            ["translate", "run", "input", "--set", "beams=2"],
            "--set beams: decoding has no key 'beams'; did you mean 'beam_size'?",
        ),
        (
            ["translate", "run", "input", "--set", "beam_size"],
            "--set beam_size: write --set KEY=VALUE, such as --set",
        ),
        (
            ["translate", "run", "input", "--set", "kind=bean"],
            "--set kind: decoding.kind must be 'beam' or 'sampling', not 'bean'; did you",
        ),
        (
            ["translate", "run", "input", "-o", "no/where"],
            "no/where: can't be written: there is no folder no",
        ),
        (
            ["translate", "run", "input", "-o", "out.gz"],
            "out.gz: output is not compressed: leave .gz away, or -o and use a pipe",
        ),
        (["score", "run", "input", "input", "-o", "out.zst"], "out.zst: output is not compressed"),
        (["score", "run", "input", "train.tgt"], "input has 7 lines but train.tgt has 20"),
        (["score", "run", "train.src", "train.tgt", "--tokens"], "train.tgt:1: is no JSON object"),
    ],
)
def test_mistakes_are_one_line(home, arguments, message):
    output = [] if "-o" in arguments else ["-o", "never"]
    code, said = run(home, *arguments, *output)
    assert (code, said.count("\n")) == (2, 1), said
    assert message in said
    assert not (home / "never").exists()


def score(home, *arguments):
    code, said = run(home, "score", "run", *arguments, "-o", "scores")
    assert code == 0, said
    return (home / "scores").read_text(), said


def test_scores_are_what_translate_reports(home):
    (home / "found").write_text(translate(home, "train.src", "--format", "jsonl"))
    found = json_lines((home / "found").read_text())
    text, _ = score(home, "train.src", "found", "--tokens", "--format", "jsonl")
    for translation, scored in zip(found, json_lines(text), strict=True):
        assert scored["score"] == pytest.approx(translation["score"], abs=1e-5)
        assert scored["tokens"] == [*translation["tokens"], "</s>"]
    (home / "texts").write_text("".join(f"{f['translation']}\n" for f in found))
    text, _ = score(home, "train.src", "texts", "--format", "jsonl")
    same = 0
    for translation, scored in zip(found, json_lines(text), strict=True):
        if scored["tokens"] == [*translation["tokens"], "</s>"]:
            same += 1
            assert scored["score"] == pytest.approx(translation["score"], abs=1e-5)
    assert same, "no translation was segmented as it was found"


def test_every_line_that_translate_wrote_is_scored_alike(home):
    (home / "odd").write_text("ab\n\n  \n<s> </s> <unk> <pad>\n" + "dcba. " * 20 + "\n漢字 d \n")
    found = json_lines(translate(home, "odd", "--format", "jsonl", "--n-best", "2"))
    (home / "found").write_text("".join(f"{json.dumps(line)}\n" for line in found))
    text, said = score(home, "odd", "found", "--tokens", "--format", "jsonl")
    assert "NaN" not in text + said
    for translation, scored in zip(found, json_lines(text), strict=True):
        assert scored["score"] == pytest.approx(translation["score"], abs=1e-4)
        assert [t for t in scored["tokens"] if t != "</s>"] == translation["tokens"]
    assert "2 of them blank on both sides" in said
    assert "1 of them longer than max_source_tokens, scored in parts as they are" in said
    (home / "blank").write_text("\n\n")
    assert score(home, "blank", "blank") == (
        "0.000000\t0.000000\t0\n" * 2,
        "2 pairs, 0 target tokens\n"
        "2 of them blank on both sides, as translate makes them without the model\n",
    )


@pytest.mark.parametrize(
    "line",
    ["x", "3", "{}", "[1]", '{"tokens": "ab"}', '{"tokens": [1]}', '{"tokens": null}']
    + [f'{{"tokens": ["a", "b"], "parts": {parts}}}' for parts in ("[1]", "3", '["a"]', "[3, -1]")],
)
def test_what_holds_no_tokens_is_one_line(home, line):
    (home / "one").write_text("a\n")
    (home / "wrong").write_text(f"{line}\n")
    code, said = run(home, "score", "run", "one", "wrong", "--tokens", "-o", "scores")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("seqtrans: wrong:1: is no JSON object with 'tokens', as translate")


def numbers(text):
    return [float(x) for line in text.splitlines() for x in line.split("\t")]


def test_scores_can_come_at_the_end_of_a_pipe(home):
    expected = numbers(score(home, "train.src", "train.tgt")[0])
    for side, sides in (("train.src", ("-", "train.tgt")), ("train.tgt", ("train.src", "-"))):
        running = process(home, "score", "run", *sides)
        out, err = running.communicate((home / side).read_bytes())
        assert running.returncode == 0, err
        # Another process may have its memory, hence its sums, in another order.
        assert numbers(out.decode()) == pytest.approx(expected, abs=1e-4)
    (home / "found").write_text(translate(home, "train.src", "--format", "jsonl"))
    running = process(home, "score", "run", "train.src", "-", "--tokens")
    out, err = running.communicate((home / "found").read_bytes()[:-9])
    assert running.returncode == 2
    assert err.decode().startswith("seqtrans: standard input:20: is no JSON object")
    code, said = run(home, "score", "run", "-", "-")
    assert code == 2
    assert "can't both be the standard input" in said


def test_columns_json_and_the_perplexity_agree(home):
    text, said = score(home, "train.src", "train.tgt")
    columns = [[float(x) for x in line.split("\t")] for line in text.splitlines()]
    in_json, _ = score(home, "train.src", "train.tgt", "--format", "jsonl", "--batch-tokens", "10")
    for (log_prob, value, count), full in zip(columns, json_lines(in_json), strict=True):
        assert log_prob == pytest.approx(full["log_prob"], abs=1e-4)
        assert log_prob == pytest.approx(sum(full["token_log_probs"]), abs=1e-4)
        assert value == pytest.approx(log_prob / count, abs=1e-4)  # length penalty 1
        assert count == len(full["tokens"]) == len(full["token_log_probs"])
    total, tokens = sum(c[0] for c in columns), sum(c[2] for c in columns)
    assert f"20 pairs, {tokens:.0f} target tokens" in said
    said_perplexity = float(said.rpartition("perplexity ")[2])
    assert said_perplexity == pytest.approx(math.exp(-total / tokens), abs=1e-2)


def test_from_python(home):
    translator = seqtrans.load(home / "run")
    lines = INPUT.split("\n")
    assert translator.translate(lines) == translate(home, "input").split("\n")[:7]
    assert not any(p.requires_grad for p in translator.model.parameters())
    assert torch.is_grad_enabled()


def test_from_python_with_other_settings(home):
    options = {"beam_size": 4, "n_best": 3, "length_penalty": 0.5, "max_length_factor": 1.0}
    translator = seqtrans.load(home / "run", "last", device="cpu", precision="bf16", **options)
    assert vars(translator.config).items() >= options.items()
    assert translator.config.max_length == 8, "the rest is as the recipe says"
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    assert {p.dtype for p in translator.model.parameters()} == {dtype}
    assert len(translator.translate_window(["ab cd"])[0].alternatives) == 2


def test_any_key_of_decoding_can_be_set(home):
    plain = translate(home, "input", "--beam-size", "1", "--length-penalty", "0.5")
    changed = ("--set", "beam_size=1", "--set", "length_penalty=0.5", "--set", "no_loops=false")
    assert translate(home, "input", *changed) == plain
    assert translate(home, "input", "--set", "max_length=1") == "\n" * 7


SAMPLED = {"kind": "sampling", "temperature": 1.5, "top_k": 20, "n_best": 3}


def test_samples_of_a_line_are_the_same_wherever_it_stands(home):
    (home / "many").write_text("".join(f"{line}\n" for line in LINES * 2))
    settings = [word for key, value in SAMPLED.items() for word in ("--set", f"{key}={value}")]
    found = json_lines(translate(home, "many", "--format", "jsonl", *settings))
    assert found[: len(LINES)] == found[len(LINES) :]
    assert len({line["translation"] for line in found}) > 10
    translator = seqtrans.load(home / "run", **SAMPLED)
    for line, sampled in list(zip(LINES, found, strict=False))[:7]:
        (alone,) = translator.translate_window([line])
        assert [alone.text, *(other.text for other in alone.alternatives)] == [
            sampled["translation"],
            *(other["translation"] for other in sampled["alternatives"]),
        ]
        scores = [sampled["score"], *(other["score"] for other in sampled["alternatives"])]
        assert scores == sorted(scores, reverse=True)
    assert translate(home, "many", *settings[:2], "--batch-tokens", "30") == translate(
        home, "many", *settings[:2]
    )
    other = ("--set", "seed=2")
    assert translate(home, "many", *settings[:2], *other) != translate(home, "many", *settings[:2])


def test_of_another_kind_only_what_all_kinds_have_is_as_the_recipe_says(home):
    config = seqtrans.load(home / "run", kind="sampling", top_p=0.5).config
    assert (config.kind, config.top_p, config.max_length, config.max_source_tokens) == (
        "sampling",
        0.5,
        8,
        30,
    )
    with pytest.raises(RecipeError, match="decoding has no key 'beam_size'"):
        seqtrans.load(home / "run", kind="sampling", beam_size=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 3}, "decoding has no key 'beam'"),
        ({"settings": "test"}, "settings must be 'decoding' or 'validation', not 'test'"),
        ({"settings": "validation", "beam": 3}, "validation.decoding has no key 'beam'"),
        ({"beam_size": 0}, "decoding.beam_size must be a whole number of 1 or more, not 0"),
        ({"length_penalty": math.inf}, "decoding.length_penalty must be"),
        ({"n_best": 3}, r"n_best \(3\) must not be larger than beam_size \(2\)"),
    ],
)
def test_wrong_settings_from_python_are_named(home, options, message):
    with pytest.raises(RecipeError, match=f"^seqtrans.load: .*{message}"):
        seqtrans.load(home / "run", **options)


def test_memory_and_reading_stay_bounded_by_what_is_written(home):
    """Lines are read as translations are taken away, not before."""
    with process(home, "translate", "run", "--beam-size", "1") as running:
        written = 0

        def feed():
            nonlocal written
            try:
                while True:
                    running.stdin.write(b"ab\n" * 1000)
                    written += 1000
            except (BrokenPipeError, ValueError):
                pass

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        assert running.stdout.readline()
        before = -1
        while written != before:  # it stands still after a time, on a slow machine later
            assert written < 500_000
            before = written
            time.sleep(1)
        running.kill()
        feeder.join()
