"""The page's files over HTTP: headers, tags, compression, the policy, and that they hang together. No browser is needed."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from services.adapters.settings import Settings
from services.api.page_files import page_files
from services.api.routes.page import content_security_policy
from tests.services.api_stand import Api, api, assert_problem, open_api

__all__ = ["api"]

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "services/api/web"
IMPORT = re.compile(r"""(?:from|import\(|new URL\()\s*'(\.[^']+)'""")


def test_the_page_is_served_with_a_strict_policy(api: Api) -> None:
    answer = api.http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "worker-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    head = api.http.head("/")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("changes", "origins"),
    [
        ({"s3_endpoint": "http://10.0.0.1:8333", "s3_public_endpoint": "https://files.example/x"}, " https://files.example"),
        ({"s3_endpoint": "http://127.0.0.1:8333"}, " http://127.0.0.1:8333"),
        ({"s3_region": "eu-central-1"}, " https://s3.eu-central-1.amazonaws.com https://s3.amazonaws.com"),
    ],
)
def test_the_policy_allows_the_object_store_that_downloads_are_sent_on_to(changes: dict[str, str], origins: str) -> None:
    policy = content_security_policy(Settings(store="s3://photos", **changes))  # type: ignore[arg-type]
    assert policy.endswith(f"connect-src 'self'{origins}")


def test_files_are_tagged_and_compressed(api: Api) -> None:
    plain = api.http.get("/web/vendor/three.min.js", headers={"Accept-Encoding": "identity"})
    zipped = api.http.get("/web/vendor/three.min.js", headers={"Accept-Encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.content == plain.content == (WEB / "vendor/three.min.js").read_bytes()
    assert int(zipped.headers["content-length"]) < 0.3 * len(plain.content)
    assert plain.headers["etag"] != zipped.headers["etag"]
    assert plain.headers["vary"] == "Accept-Encoding"
    for encoding, answer in (("identity", plain), ("gzip", zipped)):
        headers = {"Accept-Encoding": encoding, "If-None-Match": answer.headers["etag"]}
        again = api.http.get("/web/vendor/three.min.js", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]


def test_nothing_else_is_served(api: Api) -> None:
    for path in ("", "index.html", "package.json", "../app.py", "js/../../app.py", "%2e%2e/app.py", "js", "js/"):
        assert_problem(api.http.get(httpx.URL(api.url, raw_path=f"/web/{path}".encode())), 404, "not_found")


def test_the_page_needs_no_key(settings: Settings) -> None:
    with open_api(settings.model_copy(update={"api_key_sha256s": ("0" * 64,)})) as keyed:
        assert keyed.http.get("/").status_code == 200
        assert keyed.http.get("/web/js/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
        assert keyed.http.get("/v1/info").status_code == 401


def test_every_file_that_is_asked_for_is_there() -> None:
    files = page_files()
    index = files["index.html"].body.decode()
    for place in re.findall(r'(?:href|src)="(web/[^"]+)"', index):
        assert place.removeprefix("web/") in files
    for name, file in files.items():
        if name.startswith("js/"):
            for place in IMPORT.findall(file.body.decode()):
                assert (WEB / name).parent.joinpath(place).resolve().relative_to(WEB.resolve()).as_posix() in files, (name, place)
    assert "MIT License" in files["vendor/three-LICENSE.txt"].body.decode()
    assert gzip.decompress(files["js/main.js"].compressed) == files["js/main.js"].body


def test_nothing_in_the_page_breaks_its_policy() -> None:
    index = (WEB / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", index)
    for file in [WEB / "index.html", *WEB.glob("*.css"), *WEB.glob("js/*.js")]:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://192.168.…", "")
        assert not re.search(r"https?://|innerHTML|\beval\(|document\.write", text), file


def test_ids_that_the_scripts_ask_for_are_in_the_page() -> None:
    index = (WEB / "index.html").read_text()
    ids = set(re.findall(r'\sid="([^"]+)"', index))
    wanted = {found for file in WEB.glob("js/*.js") for found in re.findall(r"byId\('([^']+)'\)", file.read_text())}
    assert len(wanted) > 20
    assert wanted <= ids


def test_the_scripts_that_need_no_browser() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed (Debian: apt-get install nodejs)")
    tests = sorted(str(file) for file in (ROOT / "tests/web").glob("*.test.mjs"))
    done = subprocess.run([node, "--test", *tests], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"pass (\d+)", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 15
