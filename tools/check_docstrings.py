"""Check that docstrings of functions and methods begin with a verb (Return, Read, Build).

The first word must be a plain word and none of ``NOT_VERBS``: nouns and articles that docstrings
tend to begin with. Properties are exempt, since they read as attributes. Exit code 1 names
each docstring that begins otherwise.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_WORDS = """
    A All An And Any As At Both But By Each Either Every For From He Here How If In It Its Neither
    No None Nothing Of On One Only Or Other Others Some Something Such That The Their Them There
    These They This Those To Two Up We What Whatever When Where Whether Which While Who Why With
    Within Without
    Blocks Bytes Characters Classes Content Context Copies Data Files Folders Functions Gates
    Hypotheses Ids Images Items Keys Layers Lengths Lines Logits Loss Losses Means Members Names
    Numbers Options Parameters Pairs Parts Paths Results Rows Sentences Sequences Sizes Tensors Text
    Tokens Types Values Vectors Weights Words
"""
NOT_VERBS = frozenset(_WORDS.split())


def main() -> int:
    """Check every module of the package."""
    complaints = [
        f"{path.relative_to(ROOT)}:{line}: a docstring begins with {word!r}, not with a verb: "
        "write Return, Read, Build, ..."
        for path in sorted(ROOT.glob("seqtrans/**/*.py"))
        for line, word in bad_beginnings(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


def bad_beginnings(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and first word of every docstring of a function that begins with no verb."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_property(node):
            words = (ast.get_docstring(node) or "Return").split()
            word = words[0].rstrip(",.:;") if words else ""
            if not (word.isalpha() and word.isascii() and word.istitle()) or word in NOT_VERBS:
                yield node.lineno, word


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a method is decorated as a property, cached or abstract ones included."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


if __name__ == "__main__":
    sys.exit(main())
