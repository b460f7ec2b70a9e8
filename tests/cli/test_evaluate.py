# ruff: noqa: E501 - messages are told in full
"""``seqtrans evaluate`` as a newcomer types it."""

import json

import pytest

from tests.support.command_line import in_a_process, seqtrans

REFERENCE = ["Schalte das Licht ein.", "Wie ist das Wetter morgen?", "Gute Nacht!", "Ja."] * 5
GOOD = ["Schalte das Licht an.", "Wie ist das Wetter morgen?", "Gute Nacht!", "Nein."] * 5
BAD = ["Schalte Licht ein.", "Wie ist das Wetter?", "gute nacht", "Ja."] * 5


@pytest.fixture
def files(tmp_path):
    for name, lines in (("r.de", REFERENCE), ("good.de", GOOD), ("bad.de", BAD)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def evaluate(folder, *arguments):
    return seqtrans(folder, "evaluate", *arguments)


def test_a_table_has_a_row_for_each_system_and_the_signatures(files):
    done = evaluate(files, "--reference", "r.de", "good.de", "bad.de")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["system", "BLEU", "chrF2", "chrF2++"]
    assert [line.split()[0] for line in lines[1:3]] == ["good.de", "bad.de"]
    assert float(lines[1].split()[1]) > float(lines[2].split()[1]) > 0
    assert lines[3] == ""
    assert [line.split("|")[:2] for line in lines[4:]] == [
        ["BLEU", "nrefs:1"],
        ["chrF2", "nrefs:1"],
        ["chrF2++", "nrefs:1"],
    ]
    columns = {line.index(cell) for line, cell in ((lines[0], "BLEU"), (lines[1], lines[1].split()[1]))}  # fmt: skip
    assert len(columns) == 1, "columns are aligned"


def test_json_holds_all_digits(files):
    arguments = ("--metric", "ter", "-m", "bleu", "--format", "json", "good.de")
    done = evaluate(files, "-r", "r.de", "-r", "good.de", *arguments)
    bleu, ter = json.loads(done.stdout)
    assert (bleu["system"], bleu["metric"], bleu["name"]) == ("good.de", "bleu", "BLEU")
    assert bleu["signature"].startswith("nrefs:2|")
    assert bleu["value"] == pytest.approx(100) and ter["value"] == 0  # noqa: PT018
    assert "mean" not in bleu


def test_intervals_and_tests_are_shown(files):
    done = evaluate(files, "-r", "r.de", "-m", "bleu", "--confidence", "good.de")
    assert done.stdout.splitlines()[1].split()[2] == "±"
    assert "bs:1000" in done.stdout
    for test in ("bootstrap", "randomisation"):
        done = evaluate(files, "-r", "r.de", "-m", "bleu", "--paired", test, "good.de", "bad.de")
        good, bad = done.stdout.splitlines()[1:3]
        assert "(p = " not in good
        assert "(p = 0.0" in bad


def test_randomization_and_confidence_go_together(files):
    arguments = ("-r", "r.de", "-m", "bleu", "--paired", "randomisation", "--confidence")
    done = evaluate(files, *arguments, "good.de", "bad.de")
    good, bad = done.stdout.splitlines()[1:3]
    assert "±" in good and "±" in bad and "(p = " in bad  # noqa: PT018
    assert "bs:1000|ar:10000|seed:12345" in done.stdout


def test_a_signature_that_not_all_share_names_its_systems(files):
    few = [*GOOD[:-1], "Doch."]
    (files / "few.de").write_text("".join(f"{line}\n" for line in few))
    paired = ("-m", "bleu", "--paired", "randomisation")
    done = evaluate(files, "-r", "r.de", *paired, "good.de", "few.de", "bad.de")
    exact, drawn = done.stdout.splitlines()[-2:]
    assert "ar:exact" in exact and exact.endswith("  (few.de)")  # noqa: PT018
    assert "ar:10000" in drawn and drawn.endswith("  (bad.de)")  # noqa: PT018


def test_ter_is_measured_where_it_is_asked_for(files):
    long = " ".join(f"w{i}" for i in range(2500))
    for name in ("long.de", "longer.de"):
        (files / name).write_text(f"{long}\n")
    done = evaluate(files, "-r", "long.de", "longer.de")
    assert (done.returncode, done.stderr) == (0, "")
    assert "TER" not in done.stdout
    done = evaluate(files, "-r", "long.de", "longer.de", "-m", "ter")
    assert done.stderr.startswith("long.de has a line of 2,500 words: TER takes ")
    assert "TER|nrefs:1" in done.stdout


def test_what_looks_tokenized_is_said_once_in_our_words(files):
    lines = "".join(f"the cat number {i} sat .\n" for i in range(120))
    for name in ("r.en", "a.en", "b.en"):
        (files / name).write_text(lines)
    for options in ((), ("--paired", "bootstrap")):
        done = evaluate(files, "-r", "r.en", "a.en", "b.en", "-m", "bleu", *options)
        said = done.stderr.splitlines()
        assert [line.partition(":")[0] for line in said] == ["a.en", "b.en"]
        assert "--tokenize none" in said[0]
        assert "force" not in done.stderr
    assert evaluate(files, "-r", "r.en", "a.en", "--tokenize", "none").stderr == ""
    assert evaluate(files, "-r", "r.en", "a.en", "-m", "chrf").stderr == ""


def test_text_without_spaces_is_warned_of(files):
    (files / "r.zh").write_text("猫喜欢狗和马。\n男人看见女人。\n")
    (files / "h.zh").write_text("猫喜欢狗和鸟。\n男人看见女人。\n")
    done = evaluate(files, "-r", "r.zh", "h.zh")
    assert done.stderr == (
        "r.zh has few spaces, and the tokenizer 13a of BLEU needs them: set --tokenize to zh\n"
    )
    done = evaluate(files, "-r", "r.zh", "h.zh", "--tokenize", "zh")
    assert done.stderr == ""
    assert float(done.stdout.splitlines()[1].split()[1]) > 50


def test_translations_come_through_a_pipe(files):
    by_name = evaluate(files, "-r", "r.de", "good.de", "-m", "chrf").stdout
    arguments = ("evaluate", "-r", "r.de", "-", "-m", "chrf")
    piped = in_a_process(files, *arguments, stdin="\n".join(GOOD)).stdout
    assert by_name.split("\n")[1].split()[1] == piped.split("\n")[1].split()[-1]
    assert piped.split("\n")[1].startswith("standard input")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "r.de", "no.de"], "no.de: no such file"),
        (["-r", "r.de", "short.de"], "translations are compared line by line, but r.de has 20 lines, short.de has 1 lines"),
        (["-r", "r.de", "latin.de"], "latin.de:1: not UTF-8: byte 2 of the line, byte 2 of the text, is 0xe4; convert it from its encoding, for instance with iconv -f latin1 -t utf-8"),
        (["-r", "empty.de", "empty2.de"], "there is nothing to score: empty.de, empty2.de have no lines"),
        (["-r", "r.de", "good.de", "good.de"], "good.de is given twice"),
        (["x"], "give --reference, or nothing but a run of a classifier; there is no x"),
        ([".", "--confidence"], "--confidence is for translations; . is a folder"),
        (["-r", "r.de", "good.de", "--checkpoint", "best"], "--checkpoint is for a run of a classifier, not for translations"),
        (["-r", "r.de", "good.de", "-m", "chrf", "--tokenize", "13a"], "--tokenize is how BLEU cuts text into words: measure it by -m bleu, too"),
        (["-r", "-", "-"], "the standard input is given twice: it can be read once"),
        (["-r", "short.de", "short2.de", "--confidence"], "bootstrap needs more than one line: leave out the interval"),
        (["-r", "r.de", "good.de", "--paired", "bootstrap"], "a paired test compares systems: give at least two files of translations"),
    ],
)  # fmt: skip
def test_what_can_not_be_scored_is_one_line(files, arguments, message):
    (files / "short.de").write_text("x\n")
    (files / "short2.de").write_text("x\n")
    (files / "latin.de").write_bytes(b"z\xe4h\n")
    (files / "empty.de").write_text("")
    (files / "empty2.de").write_text("")
    done = evaluate(files, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"seqtrans: {message}\n"
