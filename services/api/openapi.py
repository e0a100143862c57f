"""The OpenAPI document of the application. `python -m services.api.openapi` writes it to openapi.yaml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.api.options_check import options_schema
from services.contract.problems import PROBLEM_MEDIA_TYPE, Problem

DESCRIPTION = """Photographs in; a coloured point cloud, camera poses and a preview out.

Errors are problem details (RFC 9457) with a stable `code` everywhere. Ids are prefixed UUIDv7. A job's
`terminal: true` is final."""

_PROBLEM = {"content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """Build the document once; every refusal in it is a problem document."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
        )
        for operations in document["paths"].values():
            for operation in operations.values():
                _use_problems(operation["responses"])
                _describe_streams(operation["responses"])
                _drop_empty_defaults(operation.get("parameters", []))
        schemas = document["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["JobOptions"] = _job_options()
        document["paths"] = _inline_definitions(document["paths"])
        submission = document["paths"]["/v1/reconstructions"]["post"]["requestBody"]["content"]
        for content in submission.values():
            content["schema"]["properties"]["options"] = {"$ref": "#/components/schemas/JobOptions"}
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        schemas["FieldError"] = schemas["Problem"].pop("$defs")["FieldError"]
        document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        app.openapi_schema = document
    return app.openapi_schema


def write_document(target: Path) -> None:
    """Write the document of an application with default settings as YAML."""
    import yaml

    from services.adapters.settings import Settings
    from services.api.app import create_app

    document = describe(create_app(Settings.model_construct()))
    target.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def _job_options() -> dict[str, Any]:
    schema: dict[str, Any] = _inline_definitions(options_schema())
    return {key: value for key, value in schema.items() if key != "$schema"}


def _inline_definitions(node: Any) -> Any:
    """Put schemas that stand under `$defs` of a body where they are named: a reference counts from the document's root."""
    if isinstance(node, dict):
        if "$defs" in node:
            node = _expand({key: value for key, value in node.items() if key != "$defs"}, node["$defs"])
        return {key: _inline_definitions(value) for key, value in node.items()}
    return [_inline_definitions(each) for each in node] if isinstance(node, list) else node


def _expand(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if str(node.get("$ref", "")).startswith("#/$defs/"):
            named = definitions[node["$ref"].rpartition("/")[2]]
            node = {**named, **{key: value for key, value in node.items() if key != "$ref"}}
        return {key: _expand(value, definitions) for key, value in node.items()}
    return [_expand(each, definitions) for each in node] if isinstance(node, list) else node


def _use_problems(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if status >= "400":
            response["content"] = _PROBLEM["content"]
            if response["description"] == "Validation Error":
                response["description"] = "The request is wrong; `errors` points to what"


def _describe_streams(responses: dict[str, Any]) -> None:
    """What an event holds has a keyword of its own in OpenAPI 3.2; in 3.1 the media type says all there is to say."""
    for response in responses.values():
        for content in response.get("content", {}).values():
            content.pop("itemSchema", None)


def _drop_empty_defaults(parameters: list[dict[str, Any]]) -> None:
    """A header that is not sent is "" to us; no client need send that."""
    for parameter in parameters:
        if parameter["schema"].get("default") == "":
            del parameter["schema"]["default"]


if __name__ == "__main__":
    write_document(Path(sys.argv[1] if len(sys.argv) > 1 else "openapi.yaml"))
