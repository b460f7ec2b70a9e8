"""Pages of the site that are made from the code, and the parts of its menu that list folders.

mkdocs calls these functions, see ``hooks`` in mkdocs.yml.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from seqtrans.config.key_reference import Key, Section, sections
from seqtrans.recipe.load import recipe_class

CODE = re.compile(r"<!-- code: (\S+) (\S+) -->")
ROOT = Path(__file__).resolve().parent.parent
TASKS = ("translation", "classification")


def on_config(config: MkDocsConfig) -> None:
    """Fill the menu's lists of how-to pages and of packages."""
    pages = sorted((ROOT / "docs" / "how-to").glob("*.md"))
    lists: dict[str, list[Any]] = {
        "How to": [f"how-to/{page.name}" for page in pages],
        "Reference": [
            {package.removeprefix("seqtrans."): f"reference/{package}.md"} for package in packages()
        ],
    }
    nav: list[Any] = config.nav or []
    for entry in nav:
        if isinstance(entry, dict):
            entry.update({title: lists[title] for title in entry if title in lists})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages."""
    pages = {"recipe-keys.md": recipe_keys()}
    pages |= {f"reference/{package}.md": reference(package) for package in packages()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the code of a function where a page names it: ``<!-- code: FILE FUNCTION -->``."""
    return CODE.sub(lambda found: listing(*found.groups()), markdown)


def listing(file: str, name: str) -> str:
    """Return a fenced block with a function, without its docstring.

    Args:
        file: Below ``seqtrans/``.
        name: Of the function, after that of its class and a dot if it is a method.

    Raises:
        LookupError: The file has no such function.
    """
    text = (ROOT / "seqtrans" / file).read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        inside = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", "") == part]
        if not inside:
            raise LookupError(f"seqtrans/{file} has no {name}")
        node = inside[0]
    if not isinstance(node, ast.FunctionDef):
        raise LookupError(f"seqtrans/{file}: {name} is no function")
    lines = text.splitlines()
    first = node.body[0]
    kept = lines[node.lineno - 1 : node.end_lineno]
    if ast.get_docstring(node) is not None:
        head = lines[node.lineno - 1 : first.lineno - 1]
        kept = head + lines[first.end_lineno or 0 : node.end_lineno]
    code = textwrap.dedent("\n".join(kept))
    return f'```python title="seqtrans/{file}"\n{code}\n```'


def packages() -> list[str]:
    """Return the dotted names of all packages that hold modules."""
    found = (path.parent for path in (ROOT / "seqtrans").rglob("__init__.py"))
    return sorted(".".join(p.relative_to(ROOT).parts) for p in found if modules(p))


def modules(folder: Path) -> list[str]:
    """Return the names of the public modules of a package."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))


def reference(package: str) -> str:
    """Return the page of a package: what it is for, then every module's docstrings."""
    folder = ROOT.joinpath(*package.split("."))
    members = "[load]" if package == "seqtrans" else "false"
    options = f"{{show_root_heading: false, show_root_toc_entry: false, members: {members}}}"
    about = f"::: {package}\n    options: {options}\n"
    # Types of the commands' parameters hold their help texts, which "--help" shows better.
    hidden = "    options: {show_signature_annotations: false}\n"
    types = hidden if package == "seqtrans.cli" else ""
    named = (f"::: {package}.{module}\n{types}" for module in modules(folder))
    return "\n".join((f"# {package}\n", about, *named))


def recipe_keys() -> str:
    """Return the page of every key that a recipe may have."""
    parts = [
        "# Recipe keys\n",
        "This page is made from the code; `seqtrans keys` prints the same on the console, and",
        "`seqtrans keys --format schema` a JSON Schema by which editors complete recipes.",
        "A key without a default must be given. `[]` stands for the items of a list.\n",
    ]
    for task in TASKS:
        parts.append(f"## task: {task}\n")
        seen: dict[tuple[Key, ...], str] = {}
        for section in sections(recipe_class(task)):
            parts += described(section, task, seen)
    return "\n".join(parts) + "\n"


def described(section: Section, task: str, seen: dict[tuple[Key, ...], str]) -> Iterator[str]:
    """Return the lines of one mapping of a recipe; keys that were listed before are a link."""
    title = f"`{section.path}`" if section.path else "The recipe itself"
    title += f", `{section.choice}`" if section.choice else ""
    anchor = "-".join(re.findall(r"\w+", f"{task} {section.path} {section.choice}".lower()))
    yield f"### {title} {{ #{anchor} }}\n"
    if not section.keys:
        yield "No other keys.\n"
    elif section.keys in seen:
        yield f"As [above](#{seen[section.keys]}).\n"
    else:
        seen[section.keys] = anchor
        yield from (entry(key) for key in section.keys)


def entry(key: Key) -> str:
    """Return a key as an item of a definition list."""
    default = f" (default `{key.default}`)" if key.default else ""
    meaning = re.sub(r"\bNone\b", "null", key.meaning)
    about = f"{key.values[:1].upper()}{key.values[1:]}. {meaning}".rstrip()
    return f"`{key.name}`{default}\n:   {' '.join(about.split())}\n"
