"""What is known about photographs before they are looked at; passed as `reconstruct(…, priors=Priors(…))`.

Photographs are named by their file names. Pixels are those of the upright original (after EXIF rotation), pixel centres at
integers; camera axes are OpenCV's (x right, y down, z forward); lengths are metres. Every impossible value is a PriorsError at
construction; what depends on the photographs themselves is checked before the network runs (`check_names`, `check_sizes`).
Masks and depths may be mappings that read a file when it is asked for: each is asked for once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import PriorsError
from mast3r_engine.geodesy import GpsFix
from mast3r_engine.lens import Lens
from mast3r_engine.prior_values import check_covariance, check_matrix, check_positive

Floats = NDArray[np.float64]

Mode = Literal["fixed", "prior", "refined"]
UpAxis = Literal["z", "y", "-y"]
LATEST = 1e15  # seconds; nanoseconds since 1970 are beyond it
ROTATION_TOLERANCE = 1e-3  # of R R^T against the identity: poses written with four digits pass


@dataclass(frozen=True)
class CameraPrior:
    """The camera of a photograph. fixed: it stays; prior: it may move by its sigmas, robustly; refined: a start, nothing more."""

    lens: Lens
    mode: Mode = "prior"
    focal_sigma: float = 0.02  # relative standard deviation; of `prior` alone
    principal_sigma: float | None = None  # pixels of the original; None: the principal point is held

    def __post_init__(self) -> None:
        if self.mode not in ("fixed", "prior", "refined"):
            raise PriorsError(f"camera mode is {self.mode!r}; it must be fixed, prior or refined")
        check_positive("camera focal_sigma", self.focal_sigma, "a relative standard deviation such as 0.02")
        if self.principal_sigma is not None:
            check_positive("camera principal_sigma", self.principal_sigma, "pixels of the original")


@dataclass(frozen=True)
class PosePrior:
    """Where a photograph was taken from; without a covariance the pose is fixed.

    The covariance is of (x, y, z, rotation about x, y, z): of the camera's centre in metres and of a rotation vector in radians,
    both along the world's axes, as in ROS's PoseWithCovariance.
    """

    cam2world: Floats  # (4, 4)
    covariance: Floats | None = None  # (6, 6)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cam2world", check_matrix("pose cam2world", self.cam2world, (4, 4)))
        R = self.cam2world[:3, :3]
        if np.abs(R @ R.T - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(R) < 0:
            raise PriorsError(
                f"pose cam2world has {R.tolist()} in its upper left, which is no rotation "
                f"(determinant {np.linalg.det(R):.4g}); it must be orthonormal with determinant 1, without scale or mirroring"
            )
        if np.abs(self.cam2world[3] - [0, 0, 0, 1]).max() > 1e-9:
            raise PriorsError(f"pose cam2world ends in the row {self.cam2world[3].tolist()}; it must be [0, 0, 0, 1]")
        if self.covariance is not None:
            object.__setattr__(self, "covariance", check_covariance("pose covariance", self.covariance, 6))


@dataclass(frozen=True)
class PositionPrior:
    """Where a photograph was taken from, without its orientation: GPS, in local metres (x east, y north, z up); robust."""

    position: Floats  # (3,)
    sigma: float | tuple[float, float, float]  # metres, of all axes or of each

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", check_matrix("position", self.position, (3,)))
        for value in self.sigma if isinstance(self.sigma, tuple) else (self.sigma,):
            check_positive("position sigma", value, "metres, one number or three")
        if isinstance(self.sigma, tuple) and len(self.sigma) != 3:
            raise PriorsError(f"position sigma is {self.sigma}; it must be one number or three")


@dataclass(frozen=True)
class KnownDistance:
    """A measured length between two cameras, or between what two pixels show."""

    first: str  # photographs' names
    second: str
    metres: float
    sigma: float = 0.005  # metres
    first_pixel: tuple[float, float] | None = None  # None: the camera's centre
    second_pixel: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_positive("distance metres", self.metres, "metres")
        check_positive("distance sigma", self.sigma, "metres")
        if (self.first_pixel is None) != (self.second_pixel is None):
            raise PriorsError(f"distance {self.first} to {self.second} names one pixel only; give both or none")
        if self.first == self.second and self.first_pixel == self.second_pixel:
            raise PriorsError(f"distance from {self.first} to itself; give two photographs, or two pixels of one")


@dataclass(frozen=True)
class KnownScale:
    """A factor on the lengths that would come out otherwise."""

    factor: float

    def __post_init__(self) -> None:
        check_positive("scale factor", self.factor, "a factor")


@dataclass(frozen=True)
class UpDirection:
    """Turns the result upright: gravity from the photographs' accelerometers, or the largest plane taken for the ground."""

    gravity: Mapping[str, Floats] = field(default_factory=dict)  # (3,) pointing DOWN, in the photograph's camera axes, any length
    dominant_plane: bool = False
    axis: UpAxis = "z"  # which axis of the result points up

    def __post_init__(self) -> None:
        if bool(self.gravity) == self.dominant_plane:
            raise PriorsError("up direction needs either gravity of at least one photograph or dominant_plane, and not both")
        if self.axis not in ("z", "y", "-y"):
            raise PriorsError(f"up axis is {self.axis!r}; it must be z, y or -y")
        checked = {name: check_matrix(f"{name}: gravity", vector, (3,)) for name, vector in self.gravity.items()}
        for name, vector in checked.items():
            if np.linalg.norm(vector) < 1e-6:
                raise PriorsError(f"{name}: gravity is {vector.tolist()}; its length must not be 0")
        object.__setattr__(self, "gravity", checked)


@dataclass(frozen=True)
class Mask:
    """Which pixels of a photograph may be used; the others give no match, no point and no exported depth."""

    use: NDArray[np.bool_]  # (height, width) of the upright original; True = use

    def __post_init__(self) -> None:
        use = np.asarray(self.use)
        if use.dtype != np.bool_ or use.ndim != 2:
            raise PriorsError(
                f"mask is an array of shape {use.shape}, {use.dtype}; it must be (height, width) of bool, True = use"
            )
        if not use.any():
            raise PriorsError("mask uses no pixel at all; leave the photograph out instead")


@dataclass(frozen=True)
class DepthPrior:
    """A measured depth map: along the optical axis, not along the ray."""

    depth: NDArray[np.float32]  # (height, width) of the upright original, metres; NaN or 0 = not known
    sigma: float = 0.02  # relative standard deviation
    metric: bool = True  # False: right up to one factor for the photograph

    def __post_init__(self) -> None:
        depth = np.asarray(self.depth)
        if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
            raise PriorsError(f"depth is an array of shape {depth.shape}, {depth.dtype}; it must be (height, width) of float32")
        object.__setattr__(self, "depth", np.where(depth == 0, np.nan, depth).astype(np.float32))
        known = self.depth[~np.isnan(self.depth)]
        if known.size == 0:
            raise PriorsError("depth is known nowhere; leave it out")
        if not np.isfinite(known).all() or (known < 0).any():
            raise PriorsError(f"depth holds {known[~(known >= 0) | np.isinf(known)][0]:g}; it must be positive metres, or NaN")
        check_positive("depth sigma", self.sigma, "a relative standard deviation such as 0.02")


@dataclass(frozen=True)
class Priors:
    """Everything that is known, by the photographs' names."""

    cameras: Mapping[str, CameraPrior] = field(default_factory=dict)
    shared_cameras: Sequence[Sequence[str]] = ()  # groups of photographs whose camera had one focal length
    exif_focal_sigma: float | None = None  # relative; uses EXIF's 35 mm equivalent where `cameras` says nothing; 0.03 is right
    poses: Mapping[str, PosePrior] = field(default_factory=dict)
    positions: Mapping[str, PositionPrior] = field(default_factory=dict)
    gps_origin: GpsFix | None = None  # where the positions' frame lies, for the statistics
    distances: Sequence[KnownDistance] = ()
    scale: KnownScale | None = None
    up: UpDirection | None = None
    timestamps: Mapping[str, float] = field(default_factory=dict)  # seconds of any one clock; they go into trajectories alone
    masks: Mapping[str, Mask] = field(default_factory=dict)
    depths: Mapping[str, DepthPrior] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared_cameras", tuple(tuple(group) for group in self.shared_cameras))
        object.__setattr__(self, "distances", tuple(self.distances))
        if self.exif_focal_sigma is not None:
            check_positive("exif_focal_sigma", self.exif_focal_sigma, "a relative standard deviation such as 0.03")
        for name, time in self.timestamps.items():
            if isinstance(time, bool) or not isinstance(time, (int, float)) or not abs(time) <= LATEST:
                raise PriorsError(f"{name}: timestamp is {time!r}; it must be a number of seconds, at most {LATEST:g}")
        for name, count in Counter(name for group in self.shared_cameras for name in group).items():
            if count > 1:
                raise PriorsError(f"{name} is in {count} places of shared_cameras; one photograph has one camera")
        for group in self.shared_cameras:
            lenses = {self.cameras[name].lens for name in group if name in self.cameras}
            if len(lenses) > 1:
                raise PriorsError(
                    f"the photographs {_some(group)} share one camera and have {len(lenses)} different ones; give one"
                )
        if self.scale is not None and (self.distances or self.poses or self.positions):
            raise PriorsError("scale cannot be given beside distances, poses or positions, which say the scale themselves")

    def camera_of(self, name: str) -> CameraPrior | None:
        """What is known about a photograph's camera, from itself or from another photograph of that camera."""
        group = next((group for group in self.shared_cameras if name in group), (name,))
        return next((self.cameras[member] for member in (name, *group) if member in self.cameras), None)

    @property
    def names(self) -> set[str]:
        """Every photograph that something is said about."""
        said = {*self.cameras, *self.poses, *self.positions, *self.masks, *self.depths, *(self.up.gravity if self.up else ())}
        said |= set(self.timestamps)
        said |= {name for group in self.shared_cameras for name in group}
        return said | {name for distance in self.distances for name in (distance.first, distance.second)}

    def check_names(self, given: Sequence[str]) -> None:
        """PriorsError when something is said about a photograph that is not given, or whose name two of them have."""
        counts = Counter(given)
        for name in sorted(self.names):
            if counts[name] == 0:
                raise PriorsError(f"priors name {name}, which is not among the photographs: {_some(given)}")
            if counts[name] > 1:
                raise PriorsError(f"priors name {name} and {counts[name]} photographs have that name; rename all but one")


def check_sizes(
    name: str, size: tuple[int, int], camera: CameraPrior | None, mask: Mask | None, depth: DepthPrior | None
) -> None:
    """PriorsError when what is known of a photograph belongs to one of another size; (width, height), upright."""
    said = {
        "camera": None if camera is None else (camera.lens.width, camera.lens.height),
        "mask": None if mask is None else mask.use.shape[::-1],
        "depth": None if depth is None else depth.depth.shape[::-1],
    }
    for what, of in said.items():
        if of is not None and of != size:
            raise PriorsError(
                f"{name}: the {what} is {of[0]}x{of[1]} pixels and the photograph {size[0]}x{size[1]} (upright, after EXIF "
                "rotation); bring it to the photograph's size"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
