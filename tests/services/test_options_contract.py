"""The options over HTTP against the engine's: names, nesting, defaults and bounds may not drift apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from mast3r_engine.errors import EngineError
from mast3r_engine.options import Options
from services.contract import options as contract
from services.contract.jobs import Preset
from services.contract.presets import PRESETS, apply_preset, merge, shrink

SCHEMA = json.loads(Path(contract.__file__).with_name("options.schema.json").read_text())
CHECK = Draft202012Validator(SCHEMA)


def defaults(value: Any) -> Any:
    return (
        {f.name: defaults(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if dataclasses.is_dataclass(value)
        else value
    )


def schema_fields(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for name, field in schema["properties"].items():
        if "$ref" in field:
            yield from schema_fields(SCHEMA["$defs"][field["$ref"].rpartition("/")[2]], (*path, name))
        else:
            yield (*path, name), field


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def accepted_by(values: dict[str, Any]) -> list[bool]:
    verdicts = [CHECK.is_valid(values)]
    for build, error in ((Options.from_dict, EngineError), (contract.JobOptions.model_validate, ValidationError)):
        try:
            build(values)
            verdicts.append(True)
        except error:
            verdicts.append(False)
    return verdicts


def edges() -> Iterator[Any]:
    for path, field in schema_fields(SCHEMA):
        types = field["type"] if isinstance(field["type"], list) else [field["type"]]
        low, high = field.get("minimum"), field.get("maximum")
        for value in (low, high):
            if value is not None:
                yield pytest.param(nested(path, value), True, id=f"{'.'.join(path)}={value}")
        for value in (None if low is None else low - 1, None if high is None else high + 1):
            if value is not None:
                yield pytest.param(nested(path, value), False, id=f"{'.'.join(path)}={value}")
        for kind, value in {"null": None, "boolean": True, "string": "no such thing", "array": [[0]], "object": {}}.items():
            if "pattern" in field and kind == "string":
                continue  # scene_graph: the engine reads the text when it has the images; see the tests below
            if kind not in types or kind in ("string", "array"):
                yield pytest.param(nested(path, value), False, id=f"{'.'.join(path)}:{kind}")
        if field.get("minimum") is None and "integer" in types:
            yield pytest.param(nested(path, -(10**9)), True, id=f"{'.'.join(path)}=-1e9")
            yield pytest.param(nested(path, 10**9), True, id=f"{'.'.join(path)}=1e9")
        yield from (pytest.param(nested(path, value), True, id=f"{'.'.join(path)}={value}") for value in field.get("enum", ()))


def test_committed_schema_is_the_models() -> None:
    assert contract.options_schema() == SCHEMA, "run: python -m services.contract.options > services/contract/options.schema.json"


def test_names_nesting_and_defaults_are_the_engines() -> None:
    assert contract.JobOptions().model_dump() == defaults(Options())


@pytest.mark.parametrize(("values", "right"), list(edges()))
def test_schema_models_and_engine_agree_at_the_edges(values: dict[str, Any], right: bool) -> None:
    assert accepted_by(values) == [right] * 3


@pytest.mark.parametrize(
    "values",
    [{"pairs": [[0, 1], [2, 0]]}, {"pairs": None}, {"fusion": {"min_confidence": 2}}, {"fusion": {"min_confidence": 0.5}}, {}],
)
def test_good_values_are_accepted_by_all(values: dict[str, Any]) -> None:
    assert accepted_by(values) == [True] * 3


@pytest.mark.parametrize(
    "values", [{"unknown": 1}, {"matching": {"unknown": 1}}, {"matching": 8}, {"pairs": [[0, 1, 2]]}, {"pairs": [["a", "b"]]}, []]
)
def test_bad_values_are_refused_by_all(values: Any) -> None:
    assert accepted_by(values) == [False] * 3


@pytest.mark.parametrize(
    "text", ["auto", "complete", "swin", "swin-3", "swin-4-noncyclic", "logwin-2", "logwin-noncyclic", "oneref", "oneref-5"]
)
def test_scene_graphs_of_the_engine_are_in_the_schema(text: str) -> None:
    from mast3r_engine.pairs.scene_graph import parse_scene_graph

    parse_scene_graph(text)
    assert CHECK.is_valid({"scene_graph": text})


@pytest.mark.parametrize(
    "text", ["", "swin-0", "swin-00", "oneref--1", "complete-2", "auto ", "swin-1e3", "Complete", "oneref-1-noncyclic"]
)
def test_other_scene_graphs_are_in_neither(text: str) -> None:
    from mast3r_engine.pairs.scene_graph import parse_scene_graph

    with pytest.raises(EngineError):
        parse_scene_graph(text)
    assert not CHECK.is_valid({"scene_graph": text})


def test_every_preset_and_what_it_shrinks_to_are_valid_options() -> None:
    assert set(PRESETS) == set(get_args(Preset))
    for preset in PRESETS:
        assert accepted_by(apply_preset(preset, {})) == [True] * 3
        assert accepted_by(shrink(apply_preset(preset, {}))) == [True] * 3


def test_a_jobs_own_options_go_over_its_preset() -> None:
    assert apply_preset("fast", {"image_size": 320, "fusion": {"clean": False}}) == {
        "image_size": 320,
        "refine": "none",
        "fusion": {"max_points": 300_000, "clean": False},
    }
    assert apply_preset("fast", {})["max_image_size"] == 224
    assert PRESETS["fast"] == {"max_image_size": 224, "refine": "none", "fusion": {"max_points": 300_000}}
    assert merge({"pairs": [[0, 1], [1, 2]]}, {"pairs": [[0, 2]]}) == {"pairs": [[0, 2]]}


@pytest.mark.parametrize("size", [None, 512, 224, 160])
def test_shrinking_always_makes_images_smaller(size: int | None) -> None:
    for asked in ({"image_size": size}, {"max_image_size": size}, {"image_size": 512, "max_image_size": size}):
        assert shrink(asked)["max_image_size"] < (size or 512)


def test_models_refuse_unknown_fields_everywhere() -> None:
    models = [value for value in vars(contract).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    assert len(models) >= 5
    assert all(model is BaseModel or model.model_config["extra"] == "forbid" for model in models)
