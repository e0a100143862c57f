"""A job on a real worker over a real S3 server."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

from services.adapters.embedded import EmbeddedRedis
from services.contract.keys import artifact
from services.contract.states import JobStatus
from tests.services.conftest import make_settings
from tests.services.invariants import check_job
from tests.services.service_stand import Stand


def test_a_job_runs_over_s3_and_its_artefacts_are_presigned(
    redis_server: EmbeddedRedis, s3_server: dict[str, Any], tmp_path: Path
) -> None:
    settings = make_settings(redis_server.url, tmp_path, **{**s3_server, "store": f"{s3_server['store']}/{tmp_path.name}"})
    with Stand(settings, tmp_path) as stand:
        stand.start_worker()
        done = check_job(stand, stand.wait_terminal(stand.submit(photos=3)))
        assert done.status is JobStatus.SUCCEEDED
        assert done.result is not None
        key = artifact(done.id, done.result.token, "scene.ply")
        url = stand.objects.presign(key, 60)
        assert url is not None
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == stand.objects.read(key)
            assert answer.headers["Content-Type"] == "application/ply"
