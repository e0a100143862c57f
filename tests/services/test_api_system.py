"""What the service says about itself."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import resources

from prometheus_client.parser import text_string_to_metric_families

from services.adapters.worker_registry import WorkerRegistry
from services.contract.workers import WorkerStatus
from tests.services.api_stand import Api, api

__all__ = ["api"]


def test_info_tells_the_limits_that_hold(api: Api) -> None:
    info = api.http.get("/v1/info").json()
    assert info["name"] == "mast3r-service"
    assert info["api_versions"] == ["v1"]
    assert info["presets"] == ["fast", "balanced", "accurate"]
    assert info["default_preset"] == "balanced"
    assert info["retention"] == {"job_days": 7.0, "capture_hours": 48.0, "reference_days": 30.0, "map_days": 30.0}
    assert info["limits"] == {
        "max_photos": 200,
        "max_photo_bytes": 50_000_000,
        "max_capture_bytes": 4_000_000_000,
        "max_photo_pixels": 60_000_000,
        "min_photo_side": 16,
        "max_archive_entries": 2000,
        "max_wait_s": 60,
        "job_time_limit_s": 3600,
        "photo_formats": ["image/jpeg", "image/png", "image/webp", "image/heic", "image/tiff"],
        "localisation": {
            "max_references": 32,
            "max_photo_bytes": 10_000_000,
            "max_query_bytes": 64_000_000,
            "max_query_pixels": 120_000_000,
            "deadline_ms": 10_000,
            "max_deadline_ms": 60_000,
            "max_kept_references": 10_000,
            "max_kept_maps": 100,
        },
    }


def test_options_are_the_contract_s_schema(api: Api) -> None:
    committed = json.loads(resources.files("services.contract").joinpath("options.schema.json").read_text())
    assert api.http.get("/v1/options").json() == committed
    assert committed["additionalProperties"] is False


def test_ready_counts_the_workers(api: Api) -> None:
    assert api.http.get("/healthz/ready").json()["checks"]["workers"].startswith("0 alive")
    now = datetime.now(UTC)
    status = WorkerStatus(name="a:1", host="a", pid=1, weights_loaded=True, started_at=now, last_seen=now)
    WorkerRegistry(api.settings, api.store.redis).beat(status)
    ready = api.http.get("/healthz/ready").json()
    assert ready["status"] == "ok"
    assert ready["checks"] == {
        "job_store": "ok",
        "object_store": "ok",
        "workers": "1 alive, 1 with their weights loaded",
        "localisation_workers": "0 alive, 0 with their weights loaded",
    }


def test_demand_and_metrics(api: Api) -> None:
    jobs = [api.new_job(1)["id"] for _ in range(3)]
    api.claim(jobs[0])
    assert api.http.get("/v1/system/demand").json() == {"queued": 2, "running": 1}
    api.submit(("x.jpg", b"no photo"))
    answer = api.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples[("m3r_jobs_queued",)] == 2
    assert samples[("m3r_jobs_running",)] == 1
    assert samples[("m3r_jobs_accepted_total",)] == 3
    assert samples[("m3r_submissions_refused_total", ("code", "invalid_image"))] == 1
    accepted = ("m3r_http_requests_total", ("method", "POST"), ("route", "/v1/reconstructions"), ("status", "202"))
    assert samples[accepted] == 3


def test_the_api_never_loads_torch_or_the_engine() -> None:
    code = (
        "import sys; from services.adapters.settings import Settings; from services.api.app import create_app; "
        "create_app(Settings()).openapi(); "
        "print(sorted({'torch', 'mast3r_engine', 'mast3r_kernels', 'open3d', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_making_an_app_opens_nothing() -> None:
    from services.adapters.settings import Settings
    from services.api.app import create_app

    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0", store="dir:/nonexistent/never"))
    assert not hasattr(app.state, "services")
