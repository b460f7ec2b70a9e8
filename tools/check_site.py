"""Check that pages of the built site fetch nothing from other hosts: it must work offline."""

import sys
from html.parser import HTMLParser
from pathlib import Path

FETCHED = {"link", "script", "img", "iframe", "source", "video", "audio", "object", "embed"}
REMOTE = ("http://", "https://", "//")
LINKS_ONLY = {"canonical", "prev", "next", "edit"}  # <link rel=...> that no browser fetches


class Fetches(HTMLParser):
    """Collect the addresses outside the site that a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``."""
        values = dict(attrs)
        if tag not in FETCHED or values.get("rel") in LINKS_ONLY:
            return
        found = (values.get(name) or "" for name in ("src", "href", "data", "srcset"))
        self.found += [address for address in found if address.startswith(REMOTE)]


def remote_fetches(page: str) -> list[str]:
    """Return the addresses outside the site that a browser would fetch for a page."""
    parser = Fetches()
    parser.feed(page)
    return parser.found


def main() -> int:
    """Print what pages below a folder fetch from elsewhere; the exit code is 1 if they do."""
    pages = sorted(Path(sys.argv[1]).rglob("*.html"))
    found = [(p, address) for p in pages for address in remote_fetches(p.read_text("utf-8"))]
    for page, address in found:
        print(f"{page}: fetches {address}")
    if not pages:
        print(f"{sys.argv[1]}: no pages")
    return int(bool(found) or not pages)


if __name__ == "__main__":
    sys.exit(main())
