"""Find the function that a recipe names as ``module:function``."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from seqtrans.errors import RecipeError

_SHORT = 200  # characters of what another program says


def builder_file(build: str, folder: Path) -> Path | None:
    """Return the file of ``build``, a ``module:function``, in ``folder``, or None."""
    file = folder / f"{build.partition(':')[0]}.py"
    return file if file.is_file() else None


def find_builder(build: str, folder: Path | None) -> Callable[..., Any]:
    """Import the module that ``build`` names and return the function.

    Args:
        build: ``module:function``.
        folder: Where ``module.py`` is looked for first, before Python's own path; it sees modules
            of that path but no other file of the folder.

    Raises:
        RecipeError: There is no such module or function, or the module fails.
    """
    name, _, wanted = build.partition(":")
    file = builder_file(build, folder) if folder else None
    try:
        module = _from_file(name, file) if file else importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not file and error.name == name:
            beside = f"no {folder / name}.py and " if folder else ""
            raise RecipeError(
                f"model.build: there is {beside}no module '{name}' on Python's path"
            ) from error
        raise RecipeError(
            f"model.build: '{name}' can't be imported: {error_summary(error)}"
        ) from error
    function = getattr(module, wanted, None)
    if not callable(function):
        raise RecipeError(f"model.build: {file or name} has no function '{wanted}'")
    return cast("Callable[..., Any]", function)


def error_summary(error: BaseException) -> str:
    """Describe an error in foreign code in one line: place, type and first line.

    The place is the last one outside of libraries, which its author can fix.
    """
    this_folder = str(Path(__file__).parent)
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}: "
        for frame in traceback.extract_tb(error.__traceback__)
        if not (frame.filename.startswith(("<", this_folder)) or "-packages" in frame.filename)
    ]
    where = places[-1] if places else ""
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    message = message if len(message) <= _SHORT else f"{message[:_SHORT]}..."
    return f"{where}{type(error).__name__}" + (f": {message}" if message else "")


def _from_file(name: str, file: Path) -> ModuleType:
    """Load a module from a file, under a name that hides no other module."""
    spec = importlib.util.spec_from_file_location(f"seqtrans_builder_{name}", file)
    assert spec is not None  # noqa: S101 - so it is for every name in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses, for one, look there
    spec.loader.exec_module(module)
    return module
