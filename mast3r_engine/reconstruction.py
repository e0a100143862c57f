"""The result of `reconstruct`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.lens import Lens
from mast3r_engine.views import ImageGeometry


@dataclass(frozen=True)
class PairStats:
    """One unordered pair of the graph: how many matches it has and how many agree with the final cameras."""

    i: int
    j: int
    matches: int
    inliers: int


@dataclass(frozen=True)
class Alignment:
    """What global alignment hands to fusion: cameras and depths of N photographs, all at network size.

    cam2world: OpenCV axes; metres when the network is metric; NaN where unregistered. Each component has a frame of its own, in
    which its first registered photograph is the identity; what priors place in their frame is one component, in that frame.
    """

    cam2world: NDArray[np.float64]  # (N, 4, 4)
    component: NDArray[np.int64]  # (N,) -1 = unregistered, 0 = the largest
    unregistered: list[tuple[int, str]]  # (index, reason)
    intrinsics: NDArray[np.float64]  # (N, 3, 3) network pixels, centres at integers
    depth: list[NDArray[np.float32]]  # N of (h, w): z-depth, NaN if unregistered
    confidence: list[NDArray[np.float32]]  # N of (h, w): network confidence (> 1), NaN if unregistered
    pairs: list[PairStats]
    stats: dict[str, Any] = field(default_factory=dict)
    given_component: int = -1  # the component that stands in the frame of pose or position priors; -1: none does
    in_given_unit: bool = False  # priors say the size of every component: metres, whatever the network's unit


@dataclass(frozen=True)
class Reconstruction:
    """Cameras, depths and a coloured cloud of N photographs; numpy throughout.

    OpenCV axes; metres when `metric`. `intrinsics` are in pixels of the ORIGINAL image, upright after EXIF rotation,
    pixel centres at integers; `network_intrinsics`, `depth` and `confidence` at network size. Clouds of all components stand
    in `points`, each in its own component's frame. `matches` are those that alignment was given of the pairs that hold, wrong
    ones among them; a network without descriptors leaves none. `sources` are the photographs' files, for exports that hold them.
    Where the lens was known, `intrinsics` are those of the UNDISTORTED photograph of the original's size and `lenses` has the
    original's, refined; without distortion they are the same.
    """

    names: list[str]
    metric: bool
    cam2world: NDArray[np.float64]  # (N, 4, 4), NaN where unregistered
    component: NDArray[np.int64]  # (N,) -1 = unregistered, 0 = the largest
    unregistered: list[tuple[int, str, str]]  # (index, name, reason)
    intrinsics: NDArray[np.float64]  # (N, 3, 3)
    network_intrinsics: NDArray[np.float64]  # (N, 3, 3)
    geometry: list[ImageGeometry]
    exif_orientation: list[int]
    depth: list[NDArray[np.float32]]  # N of (h, w), z-depth
    confidence: list[NDArray[np.float32]]  # N of (h, w)
    points: NDArray[np.float32]  # (P, 3)
    colors: NDArray[np.uint8]  # (P, 3)
    point_confidence: NDArray[np.float32]  # (P,)
    normals: NDArray[np.float32]  # (P, 3)
    point_component: NDArray[np.int32]  # (P,)
    pairs: list[PairStats]
    stats: dict[str, Any]  # seconds, counts and costs per stage
    warnings: list[str] = field(default_factory=list)
    matches: list[PairMatches] = field(default_factory=list)
    sources: list[Path | None] = field(default_factory=list)  # N, None for a photograph that was not given as a path
    lenses: list[Lens | None] = field(default_factory=list)  # N, None where nothing was said of the camera
    usable: list[NDArray[np.bool_] | None] = field(default_factory=list)  # N of (h, w): masks; None: every pixel was used
    masked: bool = False  # masks were given: points and depths show what they let through
    timestamps: list[float | None] = field(default_factory=list)  # N seconds, as priors said them; empty: none was said
    world: str = "first registered photo of component 0"
