"""The commands of docs/priors.md, section "Over HTTP", run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services.api_stand import Api, api
from tests.services.bad_files import photo
from tests.services.prior_documents import camera, of
from tests.services.test_api_priors import depth, mask

__all__ = ["api"]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "priors.md"
NEEDED = ("bash", "curl", "jq")


def commands() -> list[str]:
    """The shell blocks of the section."""
    section = DOCUMENT.read_text().partition("## Over HTTP\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.mark.skipif(any(shutil.which(each) is None for each in NEEDED), reason=f"needs {', '.join(NEEDED)}")
def test_the_commands_do_what_they_say(api: Api, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "depths").mkdir()
    for n, name in enumerate(("a.jpg", "b.jpg")):
        (tmp_path / name).write_bytes(photo(n))
        (tmp_path / "masks" / f"{name}.png").write_bytes(mask(seed=n))
        (tmp_path / "depths" / f"{name}.png").write_bytes(depth())
    (tmp_path / "cameras.json").write_text(json.dumps(of("a.jpg", camera=camera())))
    blocks = commands()
    assert len(blocks) == 2
    given = []
    for block in blocks:
        script = f"set -euo pipefail\nURL={api.url}\n{block}"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        job = json.loads(done.stdout[done.stdout.rindex('{"id"') :])
        given.append([(prior.kind, prior.name) for prior in api.record(job["id"]).priors])
    assert given[0] == [("cameras", ""), ("depth", "a.jpg"), ("depth", "b.jpg"), ("mask", "b.jpg")]  # that of a was taken back
    assert sorted(given[1]) == [("cameras", ""), ("depth", "b.jpg"), ("mask", "a.jpg")]
