"""schemathesis over openapi.yaml, all checks, stateful links: a service with its workers answers as the document says.

The short profile runs always; the long one (`make faults`) draws many times as much.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from services.adapters.settings import Settings
from tests.services.api_stand import good_photos
from tests.services.localisation_stand import Localising, open_localising
from tests.services.service_stand import ROOT, Stand

KEY = "m3r_for_the_fuzzer"
BEARER = {"Authorization": f"Bearer {KEY}"}
HOOKS = Path(__file__).with_name("openapi_hooks.py")

# Statuses with which a request that fits its schema may be refused, beyond the usual (401, 403, 404, 409, 429): ids outlive what
# they name (410), and whether bytes are a photograph, or members fit each other, no JSON schema says (422; 413 and 415 alike).
GONE = [410]
BYTES = [400, 410, 413, 415, 422]
JUDGED = {
    "createReconstruction",
    "createReference",
    "createUpload",
    "completeUpload",
    "localize",
    "localizeInMap",
    "putCaptureCameras",
    "putCaptureDepth",
    "putCaptureImage",
    "putCaptureMask",
    "downloadArtifact",
    "retryJob",  # an Idempotency-Key of another job
    "getCaptureThumbnail",
    "getJobThumbnail",
    "getJobLinks",
    "getCaptureLinks",
}
LOCALISING = {"localize", "localizeInMap"}  # 503 says at once that the deadline cannot be met
USUAL = ["2xx", "3xx", 401, 403, 404, 409, 429]
STOCK = 6
DEEP = [  # routes that only links lead to, and the answers that show it
    ("PUT", "/v1/captures/{capture_id}/images/{name}", 201),
    ("POST", "/v1/reconstructions", 202),
    ("GET", "/v1/jobs/{job_id}", 200),
    ("GET", "/v1/jobs/{job_id}/artifacts", 200),
]


@pytest.fixture
def keyed(settings: Settings, tmp_path: Path) -> Iterator[Localising]:
    """A service with both kinds of workers that wants a key."""
    changes = {"api_key_sha256s": (hashlib.sha256(KEY.encode()).hexdigest(),), "localisation_deadline_ms": 2_000}
    with open_localising(settings, tmp_path, **changes) as made, Stand(made.settings, tmp_path) as stand:
        stand.start_worker()
        yield made


@pytest.fixture
def open_to_all(settings: Settings, tmp_path: Path) -> Iterator[Localising]:
    """The same without keys."""
    with open_localising(settings, tmp_path, localisation_deadline_ms=2_000) as made, Stand(made.settings, tmp_path) as stand:
        stand.start_worker()
        yield made


def configuration(folder: Path, key: str | None, known: dict[str, list[str]]) -> Path:
    """Write what the fuzzer is to know: the key, and which refusals are right although the request fits its schema."""
    lines = [f"[checks.positive_data_acceptance]\nexpected-statuses = {toml([*USUAL, *GONE])}"]
    for operation in sorted(JUDGED):
        late = [503] if operation in LOCALISING else []
        lines.append(f'[[operations]]\ninclude-operation-id = "{operation}"')
        lines.append(f"checks.positive_data_acceptance.expected-statuses = {toml([*USUAL, *BYTES, *late])}")
        lines.append(f"checks.not_a_server_error.expected-statuses = {toml(['2xx', '3xx', '4xx', *late])}")
    if key is not None:
        lines.append(f'[auth.openapi.HTTPBearer]\nbearer = "{key}"')
    for name, values in known.items():  # half of the draws name what exists, so that more than 404 is seen
        lines.append(f"[dictionaries.{name}]\nvalues = {toml(list(values))}")
        lines.append(f'[parameters."path.{name}"]\ndictionary = "{name}"\nprobability = 0.5')
    path = folder / "schemathesis.toml"
    lines.append('[phases.stateful.generation]\nmode = "positive"')  # what is wrong at the first step leads nowhere
    path.write_text("\n".join(['hooks = "' + str(HOOKS) + '"', "max-stream-events = 3", *lines]) + "\n")
    return path


def stock(service: Localising, key: str | None) -> dict[str, list[str]]:
    """Make jobs, captures and references; gives their ids as parameters of paths."""
    service.http.headers.update(BEARER if key is not None else {})
    made = [service.api.new_job() for _ in range(STOCK)]
    captures = [service.http.post("/v1/captures").json()["id"] for _ in range(STOCK)]
    for capture_id in captures:
        service.http.put(f"/v1/captures/{capture_id}/images/a.jpg", content=good_photos(1)[0][1]).raise_for_status()
    return {
        "job_id": [job["id"] for job in made],
        "capture_id": captures + [job["capture_id"] for job in made[:2]],
        "reference_id": [service.keep() for _ in range(3)],
        "name": ["a.jpg", "photo_0.jpg", "scene.ply", "poses.json"],
    }


def toml(values: list[Any]) -> str:
    """A list in TOML, whose strings are as Python's."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def document(folder: Path, keys_wanted: bool) -> Path:
    """The committed document; a service without keys wants none, so its document says nothing of them."""
    described = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    if not keys_wanted:
        for operations in described["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)
        del described["components"]["securitySchemes"]
    path = folder / "openapi.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def fuzz(service: Localising, folder: Path, key: str | None, examples: int, phases: str, timeout_s: float) -> str:
    """Run the fuzzer; gives what it says, and fails when it found anything."""
    command = [
        str(Path(sys.executable).with_name("st")),
        "--config-file",
        str(configuration(folder, key, stock(service, key))),
        "run",
    ]
    command += [str(document(folder, key is not None)), "--url", service.api.url, "--checks", "all", "--phases", phases]
    command += ["-n", str(examples), "--seed", "20", "--continue-on-failure", "--no-color", "--request-timeout", "30"]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    return done.stdout


def answers(service: Localising, headers: dict[str, str]) -> Counter[tuple[str, str, int]]:
    """How often each route gave each status, as the service itself counts."""
    from prometheus_client.parser import text_string_to_metric_families

    counted: Counter[tuple[str, str, int]] = Counter()
    for family in text_string_to_metric_families(service.http.get("/metrics", headers=headers).text):
        for sample in family.samples:
            if sample.name == "m3r_http_requests_total":
                counted[sample.labels["method"], sample.labels["route"], int(sample.labels["status"])] += int(sample.value)
    return counted


def assert_every_operation_was_asked(counted: Counter[tuple[str, str, int]]) -> None:
    """A fuzzer that reaches nothing finds nothing."""
    described = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    operations = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    asked = {(method, route.replace("{name:path}", "{name}")) for method, route, _ in counted}
    assert operations <= asked, operations - asked
    assert not [key for key in counted if key[2] == 500]


def assert_links_lead_deep(counted: Counter[tuple[str, str, int]]) -> None:
    """Links led from captures to photographs, jobs and results."""
    for method, route, status in DEEP:
        assert counted[method, route, status] > 0, (method, route, status, sorted(counted))


@pytest.mark.timeout(600)
def test_with_a_key_every_route_answers_as_described(keyed: Localising, tmp_path: Path) -> None:
    fuzz(keyed, tmp_path, KEY, 8, "coverage,stateful", 500)
    counted = answers(keyed, BEARER)
    assert_every_operation_was_asked(counted)
    assert_links_lead_deep(counted)
    assert httpx.get(f"{keyed.api.url}/v1/info", headers=BEARER, timeout=30).status_code == 200


@pytest.mark.timeout(600)
def test_without_a_key_every_route_answers_as_described(open_to_all: Localising, tmp_path: Path) -> None:
    fuzz(open_to_all, tmp_path, None, 4, "fuzzing", 500)
    assert_every_operation_was_asked(answers(open_to_all, {}))


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("with_key", [True, False])
def test_at_length(with_key: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    service = request.getfixturevalue("keyed" if with_key else "open_to_all")
    fuzz(service, tmp_path, KEY if with_key else None, 60, "examples,coverage,fuzzing,stateful", 1700)
    counted = answers(service, BEARER if with_key else {})
    assert_every_operation_was_asked(counted)
    assert_links_lead_deep(counted)
