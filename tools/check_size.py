"""Keep the house in order: bounds on files, functions and folders, and tables of contents.

No file has more than 300 lines, no function more than 40, no folder of ``seqtrans/`` more than 15
Python files. The ``__init__.py`` of a folder names all that is in it; of the names that it lists
for a module as ``- ``module``: one, other`` the module has each. Prints the size of every package,
so that growth is seen in each CI run. Exit code 1 names whatever is too large or not listed.
"""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

FILE_LINES, FUNCTION_LINES, FOLDER_FILES = 300, 40, 15
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Check every Python file of the package and of the tools."""
    sizes: Counter[str] = Counter()
    complaints: list[str] = []
    for path in sorted([*ROOT.glob("seqtrans/**/*.py"), *ROOT.glob("tools/**/*.py")]):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        lines = len(text.splitlines())
        sizes["/".join(name.parts[:-1][:2])] += lines
        if lines > FILE_LINES:
            complaints.append(f"{name}: {lines} lines, {FILE_LINES} at most: split it")
        complaints += [f"{name}:{line}" for line in long_functions(ast.parse(text))]
    complaints += full_folders(ROOT / "seqtrans") + wrong_contents(ROOT / "seqtrans")
    for package, lines in sorted(sizes.items()):
        print(f"{lines:6} {package}")
    print(f"{sum(n for p, n in sizes.items() if p.startswith('seqtrans')):6} seqtrans in all")
    print("\n".join(complaints))
    return 1 if complaints else 0


def long_functions(tree: ast.Module) -> list[str]:
    """Functions of more than 40 lines, decorators and docstring not counted."""
    found: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
        lines = (node.end_lineno or 0) - first.lineno + 1
        if lines > FUNCTION_LINES:
            found.append(f"{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES} at most")
    return found


def full_folders(package: Path) -> list[str]:
    """Folders of more than 15 Python files, ``__init__.py`` counted."""
    counts = Counter(path.parent for path in package.rglob("*.py"))
    return [
        f"{folder.relative_to(package.parent)}: {count} files, {FOLDER_FILES} at most: split it"
        for folder, count in sorted(counts.items())
        if count > FOLDER_FILES
    ]


LISTED = re.compile(r"^- ``(\w+)``: (.+(?:\n  .+)*)", re.MULTILINE)
DEFINED = r"^(?:class |def )?{}\b"


def wrong_contents(package: Path) -> list[str]:
    """What an ``__init__.py`` of a package leaves out, and what it lists that is not there."""
    found: list[str] = []
    for init in sorted(package.rglob("__init__.py")):
        text, folder = init.read_text(encoding="utf-8"), init.parent
        packages = (path.parent for path in folder.glob("*/__init__.py"))
        modules = (path for path in folder.glob("*.py") if not path.stem.startswith("__"))
        name = init.relative_to(package.parent)
        found += [
            f"{name}: does not say what is in {path.stem}: list what others use of it"
            for path in sorted([*packages, *modules])
            if not re.search(rf"\b{path.stem}\b", text)
        ]
        for module, listed in LISTED.findall(text):
            names = [part.strip() for part in listed.split(",")]
            file = folder / f"{module}.py"
            if not all(map(str.isidentifier, names)) or not file.exists():
                continue  # in words, or a package
            source = file.read_text(encoding="utf-8")
            found += [
                f"{name}: {module} has no {one}: list what it has"
                for one in names
                if not re.search(DEFINED.format(one), source, re.MULTILINE)
            ]
    return found


if __name__ == "__main__":
    sys.exit(main())
