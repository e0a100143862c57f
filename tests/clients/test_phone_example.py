"""`examples/phone/capture.sh` as it is, over a connection that is cut; sources that nothing here compiles must say so."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import RESULT
from tests.clients.flaky_proxy import FlakyProxy, repeated
from tests.clients.test_client_bad_network import noisy_photos
from tests.services.api_stand import Api
from tests.services.bad_files import text_as_photo

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "phone"
TOOLS = [tool for tool in ("curl", "openssl", "sh") if shutil.which(tool) is None]

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(bool(TOOLS), reason=f"not installed: {', '.join(TOOLS)}")]


def run(url: str, photos: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(EXAMPLES / "capture.sh"), str(photos), str(out)]
    values = {**os.environ, "M3R_URL": url, **environment}
    return subprocess.run(command, env=values, capture_output=True, text=True, timeout=150, check=False)


def folder(tmp_path: Path, count: int) -> Path:
    photos = tmp_path / "my photos"
    photos.mkdir()
    for name, data in noisy_photos(count):
        (photos / f"Tür & {name}").write_bytes(data)
    (photos / "letter.jpg").write_bytes(text_as_photo())
    return photos


def test_the_script_goes_the_whole_way_over_a_bad_network(api: Api, proxy: FlakyProxy, worker: None, tmp_path: Path) -> None:
    photos, out = folder(tmp_path, 3), tmp_path / "out"
    proxy.cuts_up, proxy.cuts_down = repeated(2000, 2), repeated(20_000, 2)
    done = run(proxy.url, photos, out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert proxy.cut == 4
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {n: d for n, d in RESULT.items() if "/" not in n}
    assert "left out" in done.stderr
    assert "letter.jpg" in done.stderr
    (record,) = api.store.list("default")[0]
    assert [image.name for image in record.images] == [f"Tür & photo_{n}.png" for n in range(3)]

    again = run(api.url, photos, out, M3R_CAPTURE=record.capture_id)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"job {record.id}" in again.stdout
    assert len(api.store.list("default")[0]) == 1


def test_the_script_says_what_is_refused(api: Api, tmp_path: Path) -> None:
    photos = folder(tmp_path, 1)
    wrong = run(api.url, photos, tmp_path / "out", M3R_PRESET="best")
    assert wrong.returncode == 1
    assert "422" in wrong.stderr
    assert "preset" in wrong.stderr
    gone = run(api.url, photos, tmp_path / "out", M3R_CAPTURE="cap_0197aaaa-0000-7000-8000-000000000000")
    assert gone.returncode == 1
    assert "404" in gone.stderr


def test_what_was_not_run_says_so() -> None:
    for file in EXAMPLES.iterdir():
        if file.suffix in (".swift", ".kt"):
            assert "not run: no compiler here" in file.read_text().splitlines()[0].lower()
