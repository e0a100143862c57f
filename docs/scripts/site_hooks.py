"""MkDocs hooks: links that leave docs/ become the file's name, and pages that the navigation forgot are put at its end.

The pages are read in the repository, where such links work, and as a site, which holds docs/ alone. A link to a file that is not
in the repository is a warning, so that `mkdocs build --strict` fails on it.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

LINK = re.compile(r"\[([^\]\n]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
WARNINGS = logging.getLogger("mkdocs.hooks.site_hooks")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that are in no section into the last one (called by MkDocs)."""
    docs = Path(config.docs_dir)
    pages = [path.relative_to(docs).as_posix() for path in sorted(docs.rglob("*.md"))]
    (last,) = config.nav[-1].values()
    last.extend(page for page in pages if page not in set(listed(config.nav)))
    return config


def listed(nav: Any) -> Iterator[str]:
    """The pages of a navigation, whatever its nesting."""
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from listed(part)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Replace the links of one page (called by MkDocs)."""
    docs = Path(config.docs_dir)
    return replace_links(markdown, page.file.src_uri, docs.name, docs.parent)


def replace_links(markdown: str, source: str, docs: str, root: Path) -> str:
    """Replace links from `source` (below the folder `docs` of the repository `root`) to files outside `docs`."""

    def replace(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        path = posixpath.normpath(posixpath.join(docs, posixpath.dirname(source), target))
        if path.startswith(f"{docs}/"):
            return match[0]
        if not (root / path).exists():
            WARNINGS.warning("Doc file '%s' contains a link '%s', but the repository has no such file.", source, target)
        return f"`{path}`" if words.strip("`") == path else f"{words} (`{path}` in the repository)"

    return LINK.sub(replace, markdown)
