"""The documentation's site: it builds without a warning, every page is reached, and nothing comes from another machine."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: warnings that are not shown are not counted either.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class _Loads(HTMLParser):
    """What a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(values.get("href") or "")
        if tag in LOADED:
            self.found.append(values.get(LOADED[tag]) or "")


def loads_of(page: Path) -> list[str]:
    parser = _Loads()
    parser.feed(page.read_text())
    return [address for address in parser.found if address]


def test_every_page_is_built(site: Path) -> None:
    pages = {p.relative_to(ROOT / "docs").with_suffix(".html") for p in (ROOT / "docs").rglob("*.md")}
    assert len(pages) >= 20
    assert {page for page in pages if not (site / page).is_file()} == set()
    assert not (site / "scripts").exists()


def test_nothing_comes_from_another_machine(site: Path) -> None:
    checked = 0
    for page in site.rglob("*.html"):
        for address in loads_of(page):
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
            where = page.parent / address.partition("?")[0].partition("#")[0]
            assert page.name == "404.html" or where.exists(), f"{page.name} loads {address}, which is not there"
            checked += 1
    assert checked > 100
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\s)]*", style.read_text()) == []


def test_every_page_is_reached_from_the_start(site: Path) -> None:
    start = (site / "index.html").read_text()
    for page in site.rglob("*.html"):
        name = page.relative_to(site).as_posix()
        assert name in ("404.html", "index.html") or f'href="{name}"' in start, name


def test_a_link_into_the_repository_becomes_the_files_name(caplog: pytest.LogCaptureFixture) -> None:
    sys.path.insert(0, str(ROOT / "docs" / "scripts"))
    try:
        from site_hooks import replace_links  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    line = (
        "see ([schema](../mast3r_engine/export/poses.schema.json)) and [`README.md`](../README.md), [a](../docs/a.md), [b](b.md)"
    )
    wanted = (
        "see (schema (`mast3r_engine/export/poses.schema.json` in the repository)) and `README.md`, [a](../docs/a.md), [b](b.md)"
    )
    with caplog.at_level(logging.WARNING):
        assert replace_links(line, "formats.md", "docs", ROOT) == wanted
    assert caplog.records == []
    replace_links("[gone](../no/such.file)", "formats.md", "docs", ROOT)
    assert "no/such.file" in caplog.text
    assert replace_links("[x](../../LICENSE)", "tutorials/phone.md", "docs", ROOT) == "x (`LICENSE` in the repository)"
