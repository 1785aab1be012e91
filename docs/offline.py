"""The built pages load nothing from elsewhere: a script, style, font or picture of the network fails the build."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from sphinx.errors import ExtensionError

# What a browser fetches by itself when it shows a page; a link (`a`) is followed by people only.
FETCHED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "link": ("href",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
# Kinds of `link` that name another page and load nothing.
NAMES_ONLY = {"canonical", "alternate", "author", "license", "next", "prev", "index", "search"}
ELSEWHERE = re.compile(r"\s*(?:https?:|ftp:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
IN_SCRIPTS = re.compile(
    r"""(?:\bimport\s*\(?|\bfrom|\bfetch\(|importScripts\(|\.(?:src|href)\s*=)\s*["'`]((?:https?:)?//[^"'`\s]+)"""
)


class Page(HTMLParser):
    """Collects what one page fetches from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.inside = tag
        self.found += IN_STYLES.findall(held.get("style", ""))
        if tag == "link" and set(held.get("rel", "").split()) <= NAMES_ONLY and held.get("rel"):
            return
        self.found += [held[name] for name in FETCHED.get(tag, ()) if ELSEWHERE.match(held.get(name, ""))]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        pattern = {"style": IN_STYLES, "script": IN_SCRIPTS}.get(self.inside)
        self.found += pattern.findall(data) if pattern else []


def fetched(path: Path) -> list[str]:
    """The addresses that a browser would fetch from the network for this file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".css":
        return IN_STYLES.findall(text)
    if path.suffix == ".js":
        return IN_SCRIPTS.findall(text)
    page = Page()
    page.feed(text)
    return page.found


def check(app, exception: Exception | None) -> None:
    """Look through everything that was built."""
    if exception is not None or app.builder.format != "html":
        return
    root = Path(app.outdir)
    told = [
        f"{path.relative_to(root)}: {address}"
        for path in sorted(root.rglob("*"))
        if path.suffix in {".html", ".css", ".js", ".svg"}
        for address in fetched(path)
    ]
    if told:
        raise ExtensionError("The pages must work without a network, but they load:\n" + "\n".join(told))


def setup(app):
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
