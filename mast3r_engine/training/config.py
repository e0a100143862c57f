"""A training run's config: nested dataclasses, read from TOML; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.losses.matching import MatchingMode
from mast3r_engine.training.losses.scale import NormMode
from mast3r_engine.training.quarter_turns import QuarterTurns

T = TypeVar("T")


@dataclass(frozen=True)
class MixEntry:
    """One source of pairs and its weight in every batch."""

    share: float  # relative to the other entries
    kind: Literal["synthetic", "folder"] = "synthetic"
    name: str = ""  # of a folder source: which of the folders given to the command


@dataclass(frozen=True)
class Augmentation:
    """What happens to the pairs of captures; quarter turns also to rendered pairs."""

    second_crop: float = 0.0  # largest zoom beyond 1 of the second crop, about a virtual camera; 0.1 as published
    quarter_turns: QuarterTurns = "off"
    monocular: float = 0.0  # share of pairs whose views are the same photograph; 0.005 as published
    colour_jitter: float = 0.0  # 1 as published: brightness, contrast, saturation 0.5, hue 0.1
    lens: float = 0.5  # exposure, blur, noise, JPEG, as on rendered pairs


@dataclass(frozen=True)
class Stage:
    """One leg of a run: image size, data, losses and its own learning-rate curve."""

    name: str
    steps: int  # optimiser steps; the leg ends earlier if `minutes` is set and has passed
    batch: int  # pairs per step, over all processes
    height: int
    width: int
    minutes: float = 0.0  # 0: no time limit
    lr: float = 1e-4
    final_lr: float = 1e-6
    warmup: float = 0.05  # share of the leg
    accumulate: int = 1  # micro-batches per step
    symmetrise: bool = True  # every pair in both orders
    tie_views: bool = False  # both views share decoder and descriptor branch (matching alone)
    frozen: tuple[str, ...] = ()  # prefixes of weights that stay: "patch_embed", "enc_blocks", ...
    points_weight: float = 1.0
    matching_weight: float = 0.075
    metric_share: float = 1.0  # share of metric pairs whose scale must be right; the others are compared up to scale
    matches: int = 256  # correspondences per pair
    fov: tuple[float, float] = (30.0, 100.0)  # degrees, synthetic pairs
    angle: tuple[float, float] = (0.0, 60.0)  # degrees between the synthetic views
    meshes: int = 2  # uneven ground and stones in each synthetic scene, the costliest solids
    shadows: bool = True
    mix: tuple[MixEntry, ...] = (MixEntry(share=1.0),)
    sizes: tuple[tuple[int, int], ...] = ()  # width, height; each batch has one of them; empty: width and height above
    augment: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class LossOptions:
    """Settings of the losses; the defaults are the published run's."""

    norm: NormMode = "avg_dis"
    conf_alpha: float = 0.2
    conf_limit: float = 0.0  # no point's confidence above this pays; 0: none, as published
    sky_value: float = 2.0
    in_log: bool = False
    max_metric_scale: float = 0.0  # 0: no limit
    matching_mode: MatchingMode = "proper"
    temperature: float = 0.05
    block: int = 2048  # correspondences whose similarities are held at once
    match_conf_alpha: float = 10.0
    match_conf_limit: float = 0.0  # the same for descriptors
    subpixel: bool = False  # descriptors are read between pixels, where the correspondence is; published: at the nearest pixel


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run but for the paths, which are arguments of the command."""

    network: dict[str, Any]  # arguments of build_network
    stages: tuple[Stage, ...]
    losses: LossOptions = field(default_factory=LossOptions)
    seed: int = 0
    structured_start: bool = False
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.999
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    compile_renderer: bool = False
    compile_network: bool = False
    validate_every: int = 200  # steps
    validation_pairs: int = 64
    save_minutes: float = 5.0
    prefetch: int = 4  # batches of captures read ahead
    loader_threads: int = 4  # 0: captures are read when they are needed


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file; TrainingError names an unknown key, a missing one, or a value of the wrong kind."""
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"training config {path.name} cannot be read: {error}") from error
    return parse_config(values)


def parse_config(values: Mapping[str, Any]) -> TrainConfig:
    """From nested mappings; see `read_config`."""
    config = _build(TrainConfig, values, "")
    if not config.stages:
        raise TrainingError("training config: stages is empty; give at least one [[stages]] table")
    for stage in config.stages:
        if stage.steps < 1 or stage.batch < 1 or stage.accumulate < 1 or stage.batch % stage.accumulate:
            raise TrainingError(
                f"training config: stage {stage.name!r} has steps {stage.steps}, batch {stage.batch}, "
                f"accumulate {stage.accumulate}; all must be positive and batch a multiple of accumulate"
            )
        if any(width < height or height < 1 for width, height in stage.sizes):
            raise TrainingError(
                f"training config: stage {stage.name!r} has sizes {stage.sizes}; each is width, height of a landscape image, "
                "upright photographs use it transposed"
            )
        if not 0 <= stage.augment.second_crop <= 1 or not 0 <= stage.augment.monocular <= 1:
            raise TrainingError(
                f"training config: stage {stage.name!r} has second_crop {stage.augment.second_crop} and monocular "
                f"{stage.augment.monocular}; both must be between 0 and 1"
            )
        if stage.tie_views and stage.points_weight:
            raise TrainingError(f"training config: stage {stage.name!r} ties the views; it must have points_weight = 0")
    return config


def _build(kind: type[T], values: Any, where: str) -> T:
    if not isinstance(values, Mapping):
        raise TrainingError(f"training config: {where or 'the file'} is {values!r}; it must be a table")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            raise TrainingError(f"training config: unknown key {where + key!r}; known: {', '.join(fields)}")
    missing = [n for n, f in fields.items() if n not in values and _required(f)]
    if missing:
        raise TrainingError(f"training config: {where + missing[0]} is missing")
    return kind(**{key: _convert(hints[key], value, where + key) for key, value in values.items()})


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, where + ".")
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise TrainingError(
                f"training config: {where} is {value!r}; it must be one of {', '.join(map(repr, typing.get_args(hint)))}"
            )
        return value
    if origin is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, (list, tuple)) or (kinds[-1] is not Ellipsis and len(value) != len(kinds)):
            raise TrainingError(
                f"training config: {where} is {value!r}; it must be a list" + f" of {len(kinds)}" * (kinds[-1] is not Ellipsis)
            )
        return tuple(_convert(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict or isinstance(hint, types.GenericAlias):
        if not isinstance(value, Mapping):
            raise TrainingError(f"training config: {where} is {value!r}; it must be a table")
        return dict(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TrainingError(f"training config: {where} is {value!r}; it must be of type {hint.__name__}")
    return value
