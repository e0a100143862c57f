"""docker-compose.yml and the Dockerfiles name only what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.adapters.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_all_parts_are_there_and_know_each_other(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"api", "worker", "localisation", "queue", "objects"}
    for service in compose["services"].values():
        assert "image" in service or (ROOT / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
    environment = compose["services"]["worker"]["environment"]
    assert "://queue:" in environment["M3R_REDIS_URL"]
    assert "://objects:" in environment["M3R_S3_ENDPOINT"]


@pytest.mark.parametrize("service", ["api", "worker", "localisation"])
def test_every_variable_is_a_setting(compose: dict[str, Any], service: str) -> None:
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}
    assert set(compose["services"][service]["environment"]) <= known


def test_the_queue_keeps_its_data(compose: dict[str, Any]) -> None:
    command = " ".join(compose["services"]["queue"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", ["api", "worker"])
def test_dockerfiles_copy_only_what_exists(name: str) -> None:
    text = (ROOT / "deploy" / f"{name}.Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.+)$", text, re.M) for word in line.split()[:-1]]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_api_image_installs_no_engine() -> None:
    text = (ROOT / "deploy" / "api.Dockerfile").read_text()
    assert "'.[api]'" in text
    assert "worker]" not in text
