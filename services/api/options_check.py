"""Options of a job against their JSON Schema, which the contract carries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from services.api.problems import ProblemError, json_pointer
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError

MAX_ERRORS = 20


@cache
def options_schema() -> dict[str, Any]:
    """Read the schema of the options."""
    text = resources.files("services.contract").joinpath("options.schema.json").read_text()
    schema: dict[str, Any] = json.loads(text)
    return schema


def check_options(text: str) -> dict[str, Any]:
    """Read a job's options from JSON.

    Raises:
        ProblemError: invalid_options; each error points to the option, "/options/matching/subsample".
    """
    try:
        options = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid([FieldError(pointer="/options", message=f"not JSON: {error}")]) from None
    errors = [found for error in _validator().iter_errors(options) for found in _describe(error)]
    if errors:
        raise _invalid(errors[:MAX_ERRORS])
    assert isinstance(options, dict)  # the schema says so
    return options


def check_pairs(options: dict[str, Any], photos: int) -> None:
    """Check that the caller's pairs name photographs that are there."""
    pairs = options.get("pairs") or []
    errors = [
        FieldError(
            pointer=f"/options/pairs/{at}", message=f"{pair}: photographs are numbered 0 to {photos - 1}, and a pair has two"
        )
        for at, pair in enumerate(pairs)
        if not all(0 <= index < photos for index in pair) or pair[0] == pair[1]
    ]
    if errors:
        raise _invalid(errors[:MAX_ERRORS])


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(options_schema())


def _describe(error: ValidationError) -> Iterator[FieldError]:
    path = ["options", *error.absolute_path]
    schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(schema.get("properties", {}))
        for name in sorted(set(error.instance) - set(known)):
            yield FieldError(pointer=json_pointer([*path, name]), message=f"unknown option; known: {', '.join(known)}")
    else:
        message = error.message if len(error.message) <= 300 else error.message[:297] + "..."
        yield FieldError(pointer=json_pointer(path), message=message)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _invalid(errors: list[FieldError]) -> ProblemError:
    detail = "; ".join(f"{error.pointer.lstrip('/')}: {error.message}" for error in errors[:3])
    return ProblemError(422, ProblemCode.INVALID_OPTIONS, detail, errors)
