"""Pages in HTML that need no other file and no network."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from seqtrans.runtime.files.strict_json import as_json


def page(title: str, body: str) -> str:
    """Return a page that fetches nothing; its policy forbids that."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_file('page.css')}</style></head>\n"
        f"<body>\n{body}</body></html>\n"
    )


def attention_page(
    title: str,
    notes: Sequence[str],
    tables: Sequence[tuple[Sequence[str], Sequence[str], Sequence[Sequence[float]]]],
) -> str:
    """Return a page with heat maps.

    Args:
        title: Title of the page.
        notes: Lines of text above.
        tables: Labels of rows, labels of columns, and numbers from 0 to 1, of each heat map.
    """
    return page(title, _heading(title, notes) + "".join(_heat_map(*table) for table in tables))


def tree_page(
    title: str, notes: Sequence[str], nodes: Sequence[Mapping[str, Any]], best: int
) -> str:
    """Return a page with a tree that can be folded.

    Args:
        title: Title of the page.
        notes: Lines of text above.
        nodes: Keys ``parent`` (-1 for the first node), ``token``, ``log_prob``, ``score`` and
            ``rank`` (None where no hypothesis ends).
        best: The node where the best hypothesis ends.
    """
    data = as_json(nodes).replace("<", "\\u003c")  # no text of a node ends the script
    script = f"const NODES = {data}, BEST = {best};\n{_file('beam_tree.js')}"
    hint = "Point at a token to read its hypothesis; click to fold, with shift to mark it."
    body = _heading(title, [*notes, hint]) + '<p id="said"></p>\n<div id="tree"></div>\n'
    return page(title, f"{body}<script>{script}</script>\n")


def _file(name: str) -> str:
    return files("seqtrans.cli.parts").joinpath(name).read_text(encoding="utf-8")


def _heading(title: str, notes: Sequence[str]) -> str:
    lines = "".join(f'<p class="quiet">{escape(note)}</p>\n' for note in notes)
    return f"<h1>{escape(title)}</h1>\n{lines}"


def _heat_map(
    rows: Sequence[str], columns: Sequence[str], weights: Sequence[Sequence[float]]
) -> str:
    head = "".join(f'<th class="column" scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th class="row" scope="row">{escape(row)}</th>'
        + "".join(map(_cell, weights[i], columns, [row] * len(columns)))
        + "</tr>\n"
        for i, row in enumerate(rows)
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"


def _cell(weight: float, column: str, row: str) -> str:
    """Return a cell whose shade is its weight, which is written where it is not small."""
    text = f"{weight:.2f}"[1:] if 0.095 <= weight < 0.995 else ("1" if weight >= 0.995 else "")
    color = "#fff" if weight > 0.55 else "#222"
    style = f"background:rgba(8,81,156,{weight:.3f});color:{color}"
    hint = escape(f"{row} \u2190 {column}: {weight:.4f}", quote=True)
    return f'<td style="{style}" title="{hint}">{text}</td>'
