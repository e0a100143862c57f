"""What a caller may ask of a reconstruction: frozen dataclasses, one nested per stage, unknown names refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from mast3r_engine.errors import OptionsError

T = TypeVar("T")


@dataclass(frozen=True)
class MatchingOptions:
    """Fast reciprocal matching (spec/matching.md, sections 2 and 4)."""

    subsample: int = 8  # grid step of the start pixels, network pixels

    def __post_init__(self) -> None:
        _require(1 <= self.subsample <= 64, "matching.subsample", self.subsample, "1 to 64")


@dataclass(frozen=True)
class AlignmentOptions:
    """Global alignment (spec/alignment.md)."""

    mode: Literal["auto", "sparse", "dense"] = "auto"  # auto: sparse with descriptors, dense without
    shared_intrinsics: bool = False  # one camera took all photographs (of one size)
    min_inliers: int = 24  # matches a pair needs to count
    verify_pairs: bool = True  # False: every pair with enough matches counts, whether they agree on a pose or not

    def __post_init__(self) -> None:
        _require(self.mode in ("auto", "sparse", "dense"), "alignment.mode", self.mode, "auto, sparse or dense")
        _require(self.min_inliers >= 6, "alignment.min_inliers", self.min_inliers, "6 or more")


@dataclass(frozen=True)
class FusionOptions:
    """From depth maps to one cloud."""

    min_confidence: float = 1.5  # points below this network confidence (> 1) are left out
    max_points: int = 1_000_000  # budget; voxel-thinned to stay below it
    clean: bool = True  # drop points that float in front of surer surfaces

    def __post_init__(self) -> None:
        _require(self.min_confidence >= 0, "fusion.min_confidence", self.min_confidence, "0 or more")
        _require(1 <= self.max_points <= 100_000_000, "fusion.max_points", self.max_points, "1 to 100000000")


@dataclass(frozen=True)
class Options:
    """All options of `reconstruct`."""

    image_size: int | None = None  # long edge at the network, pixels; None: the checkpoint's own
    max_image_size: int | None = None  # and no more than that, whatever the checkpoint's own or `image_size` is
    scene_graph: str = "auto"  # complete, swin-K[-noncyclic], logwin-K[-noncyclic], oneref-R, auto
    pairs: tuple[tuple[int, int], ...] | None = None  # the user's own list of image indices; replaces scene_graph
    directions: Literal["both", "one"] = "both"  # decoder passes of a pair; one: nearly twice as fast and less accurate
    # Sub-pixel tracks and bundle adjustment after alignment (pycolmap). auto: where it can be done; bundle: a warning where not.
    refine: Literal["auto", "none", "bundle"] = "auto"
    seed: int = 0
    matching: MatchingOptions = field(default_factory=MatchingOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    fusion: FusionOptions = field(default_factory=FusionOptions)

    def __post_init__(self) -> None:
        if self.image_size is not None:
            _require(16 <= self.image_size <= 4096, "image_size", self.image_size, "16 to 4096 pixels")
        if self.max_image_size is not None:
            _require(16 <= self.max_image_size <= 4096, "max_image_size", self.max_image_size, "16 to 4096 pixels")
        _require(self.refine in ("auto", "none", "bundle"), "refine", self.refine, "auto, none or bundle")
        _require(self.directions in ("both", "one"), "directions", self.directions, "both or one")
        if self.pairs is not None:
            object.__setattr__(self, "pairs", tuple((int(i), int(j)) for i, j in self.pairs))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Options:
        """Build options from nested plain values (JSON); OptionsError names an unknown option or a wrong type."""
        return _build(cls, values, "")


@dataclass(frozen=True)
class LocalizeOptions:
    """All options of `localize`. Pixels are network pixels; limits say when an answer is not to be trusted."""

    image_size: int | None = None  # long edge at the network, pixels; None: the checkpoint's own
    subsample: int = 8  # grid step of the matching's start pixels
    max_references: int = 32  # more than that at once are refused
    seed: int = 0  # of the sampling in the minimal solvers
    inlier_pixels: float = 3.0  # reprojection error up to which a match agrees with a pose, besides its depth's error
    min_inliers: int = 30
    min_inlier_ratio: float = 0.15
    min_parallax_degrees: float = (
        0.2  # median angle between the two rays to an inlier; 0 takes queries at the reference's place too
    )
    max_rotation_sigma_degrees: float = 5.0  # largest standard deviation about any axis
    max_translation_sigma: float = 0.25  # largest standard deviation along any axis, as a fraction of the median depth

    def __post_init__(self) -> None:
        if self.image_size is not None:
            _require(16 <= self.image_size <= 4096, "image_size", self.image_size, "16 to 4096 pixels")
        _require(1 <= self.subsample <= 64, "subsample", self.subsample, "1 to 64")
        _require(1 <= self.max_references <= 1000, "max_references", self.max_references, "1 to 1000")
        _require(0 < self.inlier_pixels <= 100, "inlier_pixels", self.inlier_pixels, "above 0, up to 100")
        _require(self.min_inliers >= 6, "min_inliers", self.min_inliers, "6 or more")
        _require(0 <= self.min_inlier_ratio <= 1, "min_inlier_ratio", self.min_inlier_ratio, "0 to 1")
        for name in ("min_parallax_degrees", "max_rotation_sigma_degrees", "max_translation_sigma"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LocalizeOptions:
        """Build options from plain values (JSON); OptionsError names an unknown option or a wrong type."""
        return _build(cls, values, "")


def _require(holds: bool, name: str, value: object, right: str) -> None:
    if not holds:
        raise OptionsError(f"option {name} is {value!r}; it must be {right}")


def _build(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
    if not isinstance(values, Mapping):
        raise OptionsError(f"options{' ' + prefix.rstrip('.') if prefix else ''} must be an object, not {values!r}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise OptionsError(f"unknown option {prefix}{unknown[0]}; known: {', '.join(prefix + name for name in hints)}")
    return kind(**{name: _convert(hints[name], value, prefix + name) for name, value in values.items()})


def _convert(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, name + ".")
    if name == "pairs" and value is not None:
        return _convert_pairs(value)
    allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if typing.get_origin(hint) is Literal or str in allowed:
        _require(isinstance(value, str), name, value, "text")
    elif bool in allowed:
        _require(isinstance(value, bool), name, value, "true or false")
    elif value is not None or type(None) not in allowed:
        number = (int, float) if float in allowed else (int,)
        right = "a number" if float in allowed else "an integer"
        _require(isinstance(value, number) and not isinstance(value, bool), name, value, right)
    return value


def _convert_pairs(value: Any) -> tuple[tuple[int, int], ...]:
    def is_pair(pair: Any) -> bool:
        return isinstance(pair, list | tuple) and len(pair) == 2 and all(type(k) is int for k in pair)

    right = isinstance(value, list | tuple) and all(map(is_pair, value))
    _require(right, "pairs", value, "a list of [i, j] image indices")
    return tuple((i, j) for i, j in value)
