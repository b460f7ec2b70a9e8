# ruff: noqa: E501 - messages are told in full
"""The surface of the command line: what it offers, and how it says no."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from seqtrans.cli import COMMANDS, app
from tests.support.command_line import in_a_process, seqtrans

GOLDEN = Path(__file__).parents[1] / "golden" / "options.txt"
HEAVY = ["torch", "numpy", "PIL", "sacrebleu", "sentencepiece", "yaml", "matplotlib", "ray"]


def test_options_are_as_reviewed():
    """After a wanted change: python -m tests.cli.test_help > tests/golden/options.txt."""
    assert options() == GOLDEN.read_text(encoding="utf-8")


def options():
    """Every command with its parameters, independent of how typer lays out help."""
    lines = []
    group = typer.main.get_command(app)
    for name in group.list_commands(None):
        lines.append(name)
        for parameter in group.get_command(None, name).params:
            names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else ""
            mark = " (required)" if parameter.required else ""
            lines.append(f"  {names or parameter.name.upper()}{mark}: {parameter.help}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(tmp_path, command):
    done = seqtrans(tmp_path, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{command} [OPTIONS]" in done.stdout


def test_the_list_of_commands_is_not_cut_short(tmp_path):
    listed = in_a_process(tmp_path, "--help").stdout.partition("Commands:")[2]
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert "..." not in listed


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from seqtrans.cli import main; code = main(['train', '--help']);"
        f"print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_version_is_said(tmp_path):
    done = seqtrans(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seqtrans ")


@pytest.mark.parametrize(
    "arguments",
    [["tarin"], ["train"], ["train", "x.yaml", "--rum", "y"], ["average", "x", "--best", "1"]],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(tmp_path, arguments):
    done = seqtrans(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_each_mistake_in_a_recipe_is_a_line(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {}\nmodell: {}\ntraining: {max_steps: 0}\n")
    done = seqtrans(tmp_path, "train", recipe, "--run", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"seqtrans: {recipe}:1: data lacks the key 'train'",
        f"seqtrans: {recipe}:1: data lacks the key 'validation'",
        f"seqtrans: {recipe}:1: the recipe lacks the key 'model'",
        f"seqtrans: {recipe}:2: the recipe has no key 'modell'; did you mean 'model'?",
        f"seqtrans: {recipe}:3: training.max_steps must be a whole number of 1 or more, or null, not 0",
    ]  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_bug_is_a_traceback_and_exit_code_1():
    code = (
        "import sys; from seqtrans.training.checkpoints import run_directory;"
        "run_directory.open_run = lambda path: 1 / 0;"
        "from seqtrans.cli import main; sys.exit(main(['show', '.']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert done.stderr.count("Traceback") == 1


@pytest.fixture
def buffered(monkeypatch):
    """Let Python keep output until the end, as it does where nobody asks otherwise."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.mark.usefixtures("buffered")
def test_a_reader_that_leaves_is_no_error(tmp_path):
    lines = tmp_path / "lines"
    lines.write_text("a\n")
    command = f"'{sys.executable}' -m seqtrans evaluate -r {lines} {lines} | true"
    done = subprocess.run(  # noqa: S602 - a pipe is what is tested
        command, shell=True, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_has_no_room_is_named(tmp_path):
    resource = pytest.importorskip("resource")
    kept = tmp_path / "kept"
    kept.write_text("before")
    code = (
        "import sys; from pathlib import Path;"
        "from seqtrans import cli; from seqtrans.runtime.files.atomic_files import write_atomically;"
        "cli._run = lambda _: write_atomically(Path('kept'), 'x' * 9000); sys.exit(cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "seqtrans: kept: File too large\n")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "before"


@pytest.mark.usefixtures("buffered")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_one_line(tmp_path):
    lines = tmp_path / "lines"
    lines.write_text("a\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "seqtrans", "evaluate", "-r", lines, lines],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "seqtrans: standard output: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_where_nothing_can_be_said_the_exit_code_does():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "seqtrans", "keys", "nothing"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


if __name__ == "__main__":
    sys.stdout.write(options())
