"""The options of this protocol that have a meaning here, and what they mean in our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from services.api.problems import ProblemError, invalid_field
from services.contract.codes import ProblemCode
from services.contract.options import SCENE_GRAPH
from services.contract.outputs import OUTPUTS
from services.contract.presets import merge
from services.nodeodm.task_document import TaskOption

PRESET_OF_QUALITY = {"ultra": "accurate", "high": "accurate", "medium": "balanced", "low": "fast", "lowest": "fast"}
Wanted = dict[str, Any]  # fields of a submission: preset, options, outputs


@dataclass(frozen=True)
class KnownOption:
    """One option, as `/options` tells of it, and what it asks of us."""

    name: str
    type: Literal["int", "float", "string", "bool", "enum"]
    value: str  # the default
    domain: str | list[str]
    help: str
    apply: Callable[[Any], Wanted]


def _option(*path: str) -> Callable[[Any], Wanted]:
    def apply(value: Any) -> Wanted:
        wanted: Wanted = {"options": value}
        for name in reversed(path):
            wanted["options"] = {name: wanted["options"]}
        return wanted

    return apply


def _in_order(neighbours: int) -> Wanted:
    return {"options": {"scene_graph": f"swin-{neighbours}-noncyclic"}} if neighbours > 0 else {}


def _outputs(names: str) -> Wanted:
    return {"outputs": [name.strip() for name in names.split(",") if name.strip()]}


def _options(text: str) -> Wanted:
    if not text.strip():
        return {}
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise invalid_field("/m3r-options", "a JSON object is wanted; GET /v1/options of the API has its schema")
    return {"options": read}


TABLE: tuple[KnownOption, ...] = (
    KnownOption(
        "feature-quality",
        "enum",
        "medium",
        list(PRESET_OF_QUALITY),
        "How much work is put in: ultra and high are the preset accurate, medium is balanced, low and lowest are fast.",
        lambda quality: {"preset": PRESET_OF_QUALITY[quality]},
    ),
    KnownOption(
        "matcher-order",
        "int",
        "0",
        "integer >= 0",
        "Match each image with the next N in the order of their names, as in a video; 0: images that look alike.",
        _in_order,
    ),
    KnownOption(
        "pc-filter",
        "float",
        "5",
        "float >= 0",
        "0 keeps every point; with any other value points that float in front of surer surfaces are dropped.",
        lambda value: {"options": {"fusion": {"clean": value > 0}}},
    ),
    KnownOption(
        "m3r-image-size",
        "int",
        "512",
        "16 <= integer <= 4096",
        "Long edge of the images at the network, pixels.",
        _option("image_size"),
    ),
    KnownOption(
        "m3r-scene-graph", "string", "auto", f"text like {SCENE_GRAPH}", "Which pairs are looked at.", _option("scene_graph")
    ),
    KnownOption(
        "m3r-shared-intrinsics",
        "bool",
        "false",
        "bool",
        "One camera took all images, and they have one size.",
        _option("alignment", "shared_intrinsics"),
    ),
    KnownOption(
        "m3r-min-confidence",
        "float",
        "1.5",
        "float >= 0",
        "Points of which the network is less sure are left out.",
        _option("fusion", "min_confidence"),
    ),
    KnownOption(
        "m3r-max-points",
        "int",
        "1000000",
        "1 <= integer <= 100000000",
        "Points of the cloud at most.",
        _option("fusion", "max_points"),
    ),
    KnownOption(
        "m3r-outputs", "string", "", f"names of {', '.join(OUTPUTS)}, separated by commas", "Further files to make.", _outputs
    ),
    KnownOption("m3r-options", "string", "", "a JSON object", "Any options of the API (GET /v1/options), as JSON.", _options),
)
_BY_NAME = {option.name: option for option in TABLE}


def read_options(text: str) -> list[TaskOption]:
    """Read the option list of a request: `[{"name": …, "value": …}, …]` as JSON.

    Raises:
        ProblemError: it is no such list; or an option is not known, or its value is wrong.
    """
    if not text.strip():
        return []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_field("/options", f"not JSON: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in entries):
        raise invalid_field("/options", 'a list is wanted: [{"name": "feature-quality", "value": "high"}]')
    options = [TaskOption(name=each["name"], value=each.get("value")) for each in entries]
    wanted_of(options)
    return options


def wanted_of(options: list[TaskOption]) -> Wanted:
    """Say what options ask of us; a later one goes over an earlier one."""
    wanted: Wanted = {}
    for option in options:
        known = _BY_NAME.get(option.name)
        if known is None:
            detail = f"unknown option {option.name[:50]!r}; known: {', '.join(_BY_NAME)}"
            raise ProblemError(422, ProblemCode.INVALID_OPTIONS, detail)
        wanted = merge(wanted, known.apply(_read_value(known, option.value)))
    return wanted


def _read_value(known: KnownOption, value: object) -> Any:
    """Read a value that may come as what it is, or as text."""
    try:
        if known.type == "bool":
            return _read_flag(value)
        if isinstance(value, (bool, list, dict)) or value is None:
            raise ValueError
        if known.type == "enum" and value not in known.domain:
            raise ValueError
        read = {"int": int, "float": float}.get(known.type, str)(value)
        if isinstance(read, (int, float)) and not 0 <= read < 1e12:
            raise ValueError
    except (ValueError, OverflowError):
        domain = known.domain if isinstance(known.domain, str) else ", ".join(known.domain)
        detail = f"option {known.name}: {str(value)[:50]!r} is wrong; it is of type {known.type} ({domain})"
        raise ProblemError(422, ProblemCode.INVALID_OPTIONS, detail) from None
    return read


def _read_flag(value: object) -> bool:
    flags = {"true": True, "false": False, "1": True, "0": False}
    found = value if isinstance(value, bool) else flags.get(str(value).lower())
    if found is None:
        raise ValueError
    return found
