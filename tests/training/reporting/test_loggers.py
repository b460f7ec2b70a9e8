import io
import json
import logging
import sys
import warnings
from contextlib import nullcontext

import pytest

from seqtrans.errors import TrainingError
from seqtrans.training.reporting import loggers
from seqtrans.training.reporting.loggers import (
    ConsoleLogger,
    JsonLinesLogger,
    describe,
    duration,
    fitted,
    log_to_stderr,
)
from seqtrans.training.reporting.tensorboard import TensorBoardLogger

TRAIN = {
    "train/loss": 3.21,
    "train/nll": 2.5,
    "train/perplexity": 12.1825,
    "train/kl": 0.25,
    "train/targets_per_second": 3214.4,
    "train/data_wait_share": 0.012,
    "train/padding_share": 0.04,
    "train/learning_rate": 5e-4,
    "train/gradient_norm": 1.234,
    "train/memory_mb": 1210.4,
    "train/epoch": 1.0,
    "train/seconds": 60.0,
    "train/seconds_left": 180.0,
}
SAID = (
    "step 1,200  epoch 2  loss 3.210  perplexity 12.18  kl 0.25  3,214 tokens/s  rate 5.00e-04  "
    "waits 1%  gradient 1.23  3:00 left  1,210 MB  padding 4%"
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_holds_what_people_look_at():
    assert "  ".join(describe(1200, TRAIN, "tokens")) == SAID
    assert "3,214 images/s" in describe(1200, TRAIN, "images")
    valid = {"valid/perplexity": 8.123456, "valid/bleu": 21.5}
    assert describe(5, valid, "tokens") == ["step 5", "validation: perplexity 8.123, bleu 21.5"]


@pytest.mark.parametrize("width", [*range(1, len(SAID) + 2)])
def test_a_fitted_line_is_the_longest_beginning_that_fits(width):
    parts = describe(1200, TRAIN, "tokens")
    found = fitted(parts, width).split("  ")
    assert found == parts[: len(found)]
    assert len("  ".join(found)) <= width or len(found) == 2
    assert len(found) == len(parts) or len("  ".join(parts[: len(found) + 1])) > width


@pytest.mark.parametrize("has_bar", [True, False])
def test_a_line_fits_into_a_terminal_and_is_whole_in_the_log(tmp_path, monkeypatch, has_bar):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with log_to_stderr(tmp_path / "log.txt"), ConsoleLogger("tokens") if has_bar else nullcontext():
        logger = logging.getLogger("seqtrans.training")
        parts = describe(1200, TRAIN, "tokens")
        logger.info("%s", "  ".join(parts), extra={"parts": parts})
        logger.info("a long sentence" * 6)
    assert f"{SAID[: SAID.index('  rate')]}\n" in terminal.getvalue()
    assert "waits" not in terminal.getvalue()
    assert SAID in (tmp_path / "log.txt").read_text()
    assert terminal.getvalue().replace("\n", "").count("a long sentence") == 6


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_json_lines_are_complete_when_log_returns(tmp_path):
    logger = JsonLinesLogger(tmp_path / "metrics.jsonl")
    for step, value in ((1, 0.1), (2, float("inf"))):
        logger.log(step, {"train/loss": value})
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        known = value if value < float("inf") else None  # JSON knows no infinity
        assert json.loads(lines[-1]) == {"step": step, "train/loss": known}
        assert len(lines) == step


def test_what_is_said_goes_to_stderr_and_into_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    root = logging.getLogger("seqtrans")
    before = list(root.handlers), root.level, root.propagate
    with log_to_stderr(tmp_path / "log.txt"), ConsoleLogger("tokens") as console:
        console.log(1200, TRAIN)
        logging.getLogger("seqtrans.training").warning("beware")
    assert sys.stderr.getvalue() == f"{SAID}\nbeware\n"
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[24:] for line in log] == [SAID, "beware"]
    assert (list(root.handlers), root.level, root.propagate) == before


def test_a_full_disk_does_not_hush_the_console(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with log_to_stderr(tmp_path / "log.txt"):
        logging.getLogger("seqtrans.training").info("going on")
    assert sys.stderr.getvalue() == "going on\n"


def test_on_a_terminal_a_bar_shows_how_far_the_run_is(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with log_to_stderr(), ConsoleLogger("tokens") as console:
        console.log(1200, TRAIN)
        assert sys.stderr is not terminal  # what is written appears above the bar
        console._progress.refresh()
        assert console._progress.tasks[0].percentage == 25.0
    assert sys.stderr is terminal
    assert "25%" in terminal.getvalue()
    assert "3:00 left" in terminal.getvalue()
    assert "epoch 2" in terminal.getvalue()


def test_tensorboard_gets_every_number(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of tensorboard's own dependencies
        pytest.importorskip("tensorboard")
        logger = TensorBoardLogger(tmp_path)
        logger.log(3, {"train/loss": 1.5, "valid/bleu": 20.0})
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "valid/bleu"}
    (event,) = events.Scalars("train/loss")
    assert (event.step, event.value) == (3, 1.5)


def test_tensorboard_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install 'seqtrans\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)


def test_every_column_has_a_name_that_the_trainer_uses():
    from tests.support.toy_training import toy_trainer

    class Notebook:
        seen = {}  # noqa: RUF012 - of this test alone

        def log(self, _step, metrics):
            self.seen.update(metrics)

    trainer = toy_trainer(max_steps=2)
    trainer.loggers = [Notebook()]
    trainer.fit()
    assert {f"train/{name}" for name in (*loggers.COLUMNS, loggers.SPEED)} <= Notebook.seen.keys()
