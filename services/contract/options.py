"""The options of a job over HTTP: the engine's options, name for name, as a JSON Schema (`options.schema.json`).

    python -m services.contract.options > services/contract/options.schema.json
    python docs/scripts/write_options.py > docs/options.md

A test holds these models, the committed schema and the engine's dataclasses equal: names, nesting, defaults, bounds.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

SCENE_GRAPH = r"^(auto|complete|(swin|logwin)(-0*[1-9][0-9]{0,8})?(-noncyclic)?|oneref(-[0-9]{1,9})?)$"
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


class OptionsModel(BaseModel):
    """Base: unknown options are refused, and a number is a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class MatchingOptions(OptionsModel):
    """Fast reciprocal matching."""

    subsample: int = Field(default=8, ge=1, le=64, description="grid step of the start pixels, in network pixels")


class AlignmentOptions(OptionsModel):
    """Global alignment."""

    mode: Literal["auto", "sparse", "dense"] = Field(default="auto", description="auto: sparse with descriptors, dense without")
    shared_intrinsics: bool = Field(default=False, description="one camera took all photographs (of one size)")
    min_inliers: int = Field(default=24, ge=6, description="matches a pair needs to count")
    verify_pairs: bool = Field(
        default=True, description="false: every pair with enough matches counts, whether they agree on a pose or not"
    )


class FusionOptions(OptionsModel):
    """From depth maps to one cloud."""

    min_confidence: float = Field(default=1.5, ge=0, description="points below this network confidence (> 1) are left out")
    max_points: int = Field(default=1_000_000, ge=1, le=100_000_000, description="budget; the cloud is thinned to stay below it")
    clean: bool = Field(default=True, description="drop points that float in front of surer surfaces")


class JobOptions(OptionsModel):
    """Options of a reconstruction."""

    image_size: int | None = Field(
        default=None, ge=16, le=4096, description="long edge at the network, in pixels; null: the checkpoint's own"
    )
    max_image_size: int | None = Field(
        default=None, ge=16, le=4096, description="and no more than that, whatever the checkpoint's own or image_size is"
    )
    scene_graph: str = Field(
        default="auto",
        pattern=SCENE_GRAPH,
        description="which pairs are looked at: auto, complete, swin[-W][-noncyclic], logwin[-W][-noncyclic], oneref[-R]",
    )
    pairs: list[Annotated[list[int], Field(min_length=2, max_length=2)]] | None = Field(
        default=None, description="your own list of pairs [i, j] of photographs, numbered from 0; replaces scene_graph"
    )
    directions: Literal["both", "one"] = Field(
        default="both", description="decoder passes of each pair; one: nearly twice as fast and less accurate"
    )
    refine: Literal["auto", "none", "bundle"] = Field(
        default="auto",
        description="sub-pixel tracks and bundle adjustment after alignment; auto: where it can be, bundle: a warning where not",
    )
    seed: int = 0
    matching: MatchingOptions = MatchingOptions()
    alignment: AlignmentOptions = AlignmentOptions()
    fusion: FusionOptions = FusionOptions()


def options_schema() -> dict[str, Any]:
    """Make the JSON Schema of the options."""
    schema = JobOptions.model_json_schema(schema_generator=_PlainSchema)
    return {"$schema": SCHEMA_ID, **schema}


class _PlainSchema(GenerateJsonSchema):
    """No titles made of names; `X | None` is one type with two names, so that a client's error says which bound was broken."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        return {**inner, "type": [inner["type"], "null"]} if "type" in inner else super().nullable_schema(schema)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(options_schema(), indent=2) + "\n")
