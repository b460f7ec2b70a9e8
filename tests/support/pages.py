"""Read the fenced blocks of README.md and of pages in docs/, and run them as a reader would."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from seqtrans.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
BASH = shutil.which("bash") or "bash"
TO_RUN = ("sh", "python")
SHELL = re.compile(r"[|<>&;]")


class Block(NamedTuple):
    """One fenced block: a file if it has a title, else commands, Python, or output."""

    language: str
    title: str
    text: str
    reason: str  # why it is not run; empty if it is


def blocks(page):
    """Return the fenced blocks of a page in their order."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(*(m[name] or "" for name in ("language", "title", "text", "reason"))) for m in found
    ]


def block(page, beginning):
    """Return the fenced block of a page that holds a line of this beginning."""
    line = re.compile(rf"^{re.escape(beginning)}", re.MULTILINE)
    (found,) = [block.text for block in blocks(page) if line.search(block.text)]
    return found


def write_files(page, folder):
    """Write the blocks that have a title as files of that name."""
    for block in blocks(page):
        if block.title and block.language not in ("text", "diff") and not block.reason:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def changed_copy(page, folder):
    """Copy the package into a folder and make the changes to it that the ``diff`` blocks show."""
    shutil.copytree(ROOT / "seqtrans", folder / "seqtrans", ignore=shutil.ignore_patterns("*.pyc"))
    write_files(page, folder)
    for block in blocks(page):
        if block.language == "diff":
            path = folder / block.title
            if not path.exists():  # outside of the package, such as a test
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / block.title, path)
            path.write_text(changed(path.read_text(encoding="utf-8"), block), encoding="utf-8")


def changed(text, block):
    """Return a text after the change of a ``diff`` block; its old lines must be there once."""
    lines = block.text.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(old) == 1, (block.title, old)
    return text.replace(old, new)


def run_page(page, folder, settings=(), python_path=None):
    """Run the commands and the Python of a page, in order, in a folder; return how many.

    Args:
        page: Path of the page.
        folder: Where; it holds what the page takes for granted.
        settings: ``key=value`` pairs that make every training of the page a short one.
        python_path: Folder of the package to use, in a process of its own, instead of this one.
    """
    write_files(page, folder)
    run = [b for b in blocks(page) if not (b.title or b.reason) and b.language in TO_RUN]
    texts = [(b, t) for b in run for t in ([b.text] if b.language == "python" else commands_of(b))]
    with contextlib.chdir(folder):
        if python_path:
            assert all(is_plain(text) for _, text in texts)
            run_in_copy([command for _, command in texts], settings, python_path)
        for block, text in () if python_path else texts:
            if block.language == "python":
                exec(compile(text, "a page", "exec"), {"__name__": "a page"})  # noqa: S102 - ours
            elif is_plain(text):
                assert main(shortened(shlex.split(text), settings)[1:]) == 0, text
            else:
                in_shell(text)
    return len(texts)


def commands_of(block):
    """Return the commands of a block, one each, continued lines joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def is_plain(command):
    """Return whether a command is one of seqtrans, without pipes and redirections."""
    return command.startswith("seqtrans ") and not SHELL.search(command)


def run_in_copy(commands, settings, python_path):
    """Run commands of a changed copy of the package, one after the other in one process."""
    words = [shortened(shlex.split(command), settings)[1:] for command in commands]
    code = f"from seqtrans.cli import main\nfor words in {words}: assert main(words) == 0, words"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(python_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def in_shell(command):
    """Run one command by the shell."""
    seqtrans = f'seqtrans() {{ {shlex.quote(sys.executable)} -m seqtrans "$@"; }}'
    done = subprocess.run(
        [BASH, "-eu", "-o", "pipefail", "-c", f"{seqtrans}; {command}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)


def shortened(words, settings):
    """Return the words of a command, with settings if it trains."""
    sets = [word for setting in settings for word in ("--set", setting)]
    return [*words[:3], *sets, *words[3:]] if words[1] == "train" else words
