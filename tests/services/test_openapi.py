"""openapi.yaml is the application's document, valid, and complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.adapters.settings import Settings
from services.api.app import create_app
from services.api.openapi import write_document

COMMITTED = Path(__file__).resolve().parents[2] / "openapi.yaml"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The committed document."""
    loaded: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return loaded


def test_the_committed_document_is_the_application_s(document: dict[str, Any]) -> None:
    assert document == create_app(Settings()).openapi(), "run: python -m services.api.openapi"


def test_the_command_writes_the_committed_bytes(tmp_path: Path) -> None:
    write_document(tmp_path / "openapi.yaml")
    assert (tmp_path / "openapi.yaml").read_bytes() == COMMITTED.read_bytes()


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every operation with its path."""
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_operations_are_named_and_explained(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names) == 45
    assert all(operation["summary"] and operation["description"] for _, operation in operations(document))
    assert document["info"]["license"]["identifier"] == "Apache-2.0"


def test_open_routes_are_the_health_checks_alone(document: dict[str, Any]) -> None:
    assert {path for path, operation in operations(document) if "security" not in operation} == {
        "/healthz/live",
        "/healthz/ready",
    }
