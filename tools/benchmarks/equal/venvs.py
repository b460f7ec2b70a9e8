"""Virtual environments of the peers, from PyPI, each in a folder of its own outside the project."""

import subprocess
import sys
import tarfile
from pathlib import Path

TORCH = "torch==2.13.0"
PACKAGES = {
    "fairseq": ("fairseq", "0.12.2"),
    "joey": ("joeynmt", "2.3.0"),
    "eole": ("eole", "0.6.4"),
    "marian": ("pymarian", "1.12.42"),
}
FURTHER = {  # what a peer imports and does not require
    "joey": (TORCH, "importlib_metadata"),
    "eole": (TORCH, "aiohttp"),
    "marian": (),
}
FAIRSEQ_NEEDS = ("numpy<2", "cython<3", "wheel", "cffi", "regex", "tqdm", "bitarray", "sacrebleu")


def make(system: str, folder: Path) -> Path:
    """Return the interpreter of the environment ``folder/SYSTEM``, which is made if need be."""
    home, ready = folder / system, folder / system / "ready"
    python = home / "bin" / "python"
    if ready.exists():
        return python
    print(f"installing {system} into {home}", file=sys.stderr)
    _run(sys.executable, "-m", "venv", "--clear", str(home))
    if system == "fairseq":
        _install_fairseq(python, home)
    else:
        name, version = PACKAGES[system]
        _pip(python, "install", f"{name}=={version}", *FURTHER[system])
    ready.touch()
    return python


def version_of(system: str, python: Path) -> str:
    """Return the version of the system that an interpreter would import."""
    name = PACKAGES.get(system, (system, ""))[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    command = [str(python), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _install_fairseq(python: Path, home: Path) -> None:
    """Install a package that asks for an older Python and torch; see tools/README.md."""
    _pip(python, "install", "pip<24.1")
    _pip(python, "install", TORCH, *FAIRSEQ_NEEDS)
    _pip(python, "install", "omegaconf==2.0.6", "hydra-core==1.0.7")
    name = "fairseq-{}".format(PACKAGES["fairseq"][1])
    source = ["--no-deps", "--no-build-isolation"]
    wanted = ["--no-binary", "fairseq", "--dest", str(home), name.replace("-", "==")]
    _pip(python, "download", *source, *wanted)
    with tarfile.open(home / f"{name}.tar.gz") as archive:
        archive.extractall(home, filter="data")
    setup = home / name / "setup.py"
    line = "    from torch.utils import cpp_extension\n"
    setup.write_text(setup.read_text().replace(line, "    raise ImportError\n"))
    _pip(python, "install", *source, str(home / name))


def _pip(python: Path, *arguments: str) -> None:
    _run(str(python), "-m", "pip", "--quiet", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
