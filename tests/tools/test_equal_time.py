"""The comparison at equal time keeps weights when they are due and compares with the best peer."""

import argparse
import json

import pytest

from tools.benchmarks.equal import clock, report, settings


def run(label, bleu, seed=1, curve=((1.0, 5.0), (2.0, 9.0)), translations=("the cat sat", "a dog")):
    return {
        "label": label,
        "system": label.split(",")[0],
        "version": "1",
        "seed": seed,
        "bleu": bleu,
        "updates": 1000,
        "minutes": 2.0,
        "curve": [{"minutes": minutes, "bleu": value} for minutes, value in curve],
        "translations": list(translations),
    }


def results(*runs):
    return {"runs": list(runs), "reference": ["the cat sat", "a dog"], "conditions": {"data": "x"}}


def test_weights_are_kept_at_each_point_and_when_the_time_is_up(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    options = argparse.Namespace(run=tmp_path, minutes=1.0, points=3)
    watch = clock.Clock(options, lambda path: path.touch())
    with pytest.raises(RuntimeError):
        watch.update()
    watch.start()
    for _ in range(8):
        now[0] += 7.0
        watch.start()  # a second start must not set it back
        watch.update()
    now[0] += 7.0
    with pytest.raises(clock.TimeIsUpError):
        watch.update()
    kept = json.loads((tmp_path / "checkpoints.json").read_text())
    assert [(one["seconds"], one["updates"]) for one in kept] == [(21, 3), (42, 6), (63, 9)]
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["3", "6", "9"]


def test_the_best_peer_has_the_highest_mean_and_is_never_seqtrans():
    entrants = report.by_label(
        results(run("seqtrans", 30.0), run("a, x", 9.0), run("a, x", 1.0, 2), run("b, x", 6.0))
    )
    assert report.best_peer(entrants) == "b, x"
    assert report.best_peer({"seqtrans": entrants["seqtrans"]}) is None
    assert report.middle([run("a", 3.0), run("a", 1.0), run("a", 2.0)])["bleu"] == 2.0


def test_time_to_reach_compares_with_the_best_peers_best_point():
    ours, peer = run("seqtrans", 9.0), run("a, x", 6.0, curve=((1.0, 4.0), (2.0, 5.5), (3.0, 5.0)))
    assert "5.5 BLEU on dev, the best of a, x, seqtrans reaches after 2.0 minutes" in (
        report.time_to_reach(results(ours, peer)) or ""
    )
    slow = run("seqtrans", 2.0, curve=((1.0, 1.0),))
    assert "never" in (report.time_to_reach(results(slow, peer)) or "")
    assert report.time_to_reach(results(ours)) is None


def test_the_table_tests_each_system_against_the_best_peer():
    worse = run("b, x", 1.0, translations=("cat the", "dogs"))
    lines = report.table(results(worse, run("a, x", 50.0), run("seqtrans", 60.0))).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| seqtrans 1", "| a, x 1", "| b, x 1"]
    assert ["best peer" in line for line in lines[2:5]] == [False, True, False]
    assert lines[2].split(" | ")[4] == "1.000"  # the same text
    assert lines[-2].startswith("BLEU|nrefs:1|bs:1000")
    assert report.table(results(run("seqtrans", 60.0))).count("| seqtrans 1 |") == 1


def test_adapted_settings_replace_what_they_name_and_leave_the_rest():
    documented, adapted = (settings.settings_of("joey", variant) for variant in settings.VARIANTS)
    assert documented.options["model"]["encoder"]["num_layers"] == 6
    assert adapted.options["model"]["encoder"]["num_layers"] == settings.LAYERS
    assert adapted.options["model"]["encoder"]["dropout"] == 0.3
    assert adapted.source.endswith(documented.source)
