"""What is known of a capture's cameras beforehand: the document of `PUT /v1/captures/{id}/cameras`, and of `--cameras` too.

Photographs by their names; pixels of the upright original (after EXIF rotation), pixel centres at integers; camera axes x right,
y down, z forward; lengths in metres. Every impossible value is refused when the document is read; what depends on the
photographs is checked when a job is made of them. The engine reads the same document (docs/priors.md) and asks the same of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.contract.camera_checks import check_camera, check_covariance, check_pose, impossible
from services.contract.jobs import Model

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Vector = Annotated[list[Finite], Field(min_length=3, max_length=3)]
Name = Annotated[str, Field(min_length=1, max_length=255)]  # of a photograph; a limit also refuses what is no Unicode
Side = Annotated[int, Field(ge=1, le=1_000_000)]  # pixels
Pixel = Annotated[list[Finite], Field(min_length=2, max_length=2)]
Sigma = Positive | Annotated[list[Positive], Field(min_length=3, max_length=3)]
Seconds = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]  # nanoseconds since 1970 are beyond it
CameraModel = Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"]
SHORTEST_GRAVITY = 1e-6


class Camera(Model):
    """The camera of a photograph, by COLMAP's models."""

    model: CameraModel
    params: list[Finite]
    width: Side  # of the upright photograph
    height: Side
    mode: Literal["fixed", "prior", "refined"] | None = None  # "prior": it may move by its sigmas
    focal_sigma: Positive | None = None  # relative
    principal_sigma: Positive | None = None  # pixels; none: the principal point is held

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_camera(self.model, self.params, self.width, self.height)
        return self


class Pose(Model):
    """Where a photograph was taken from; without a covariance the pose is fixed."""

    cam2world: list[list[Finite]]  # 4x4
    covariance: list[list[Finite]] | None = None  # 6x6: of x, y, z (metres) and rotation about x, y, z (radians), world's axes

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_pose(self.cam2world)
        if self.covariance is not None:
            check_covariance(self.covariance)
        return self


class Position(Model):
    """Where a photograph was taken from, without its orientation, in a frame of the caller's."""

    metres: Vector
    sigma: Sigma  # metres


class Origin(Model):
    """A place on the Earth."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]  # degrees, WGS 84
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    altitude: Annotated[float, Field(ge=-12_000, le=100_000, allow_inf_nan=False)] | None = (
        None  # metres above the ellipsoid; none: 0
    )


class Gps(Origin):
    """Where a photograph was taken from, as a receiver said it."""

    sigma: Sigma  # metres: of all axes, or east, north, up


class PhotoKnowledge(Model):
    """What is known of one photograph."""

    camera: Camera | None = None
    pose: Pose | None = None
    position: Position | None = None
    gps: Gps | None = None
    gravity: Vector | None = None  # pointing DOWN, in camera axes, of any length
    timestamp: Seconds | None = None  # seconds of any one clock; for trajectories

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.position is not None and self.gps is not None:
            raise impossible("there are a position and a gps; give one of them")
        if self.gravity is not None and sum(x * x for x in self.gravity) < SHORTEST_GRAVITY**2:
            raise impossible(f"gravity is {self.gravity}; its length must not be 0")
        return self


class Distance(Model):
    """A measured length between two cameras, or between what two pixels show."""

    first: Name
    second: Name
    metres: Positive
    sigma: Positive | None = None  # metres; none: 0.005
    first_pixel: Pixel | None = None  # none: the camera's centre
    second_pixel: Pixel | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.first_pixel is None) != (self.second_pixel is None):
            raise impossible(f"distance {self.first} to {self.second} names one pixel only; give both or none")
        if self.first == self.second and self.first_pixel == self.second_pixel:
            raise impossible(f"distance from {self.first} to itself; give two photographs, or two pixels of one")
        return self


class KnownScale(Model):
    """A factor on the lengths that would come out otherwise."""

    factor: Positive


class Up(Model):
    """Turns the result upright, by the photographs' gravity or by the largest plane."""

    dominant_plane: bool | None = None
    axis: Literal["z", "y", "-y"] | None = None  # of the result; none: z


class CamerasDocument(Model):
    """Everything that is known beforehand but for masks and depth maps, which are images of their own."""

    schema_version: Literal[1] | None = None
    photos: dict[Name, PhotoKnowledge] | None = None  # by the photographs' names
    shared_cameras: list[list[Name]] | None = None  # groups of photographs that one camera took
    exif_focal_sigma: Positive | None = None  # relative; uses EXIF's focal length where nothing else is said
    distances: list[Distance] | None = None
    scale: KnownScale | None = None
    up: Up | None = None
    gps_origin: Origin | None = None  # where the local frame lies; none: at the first fix

    @property
    def known(self) -> dict[str, PhotoKnowledge]:
        """What is known of single photographs."""
        return self.photos or {}

    @property
    def names(self) -> dict[str, str]:
        """Every photograph that something is said about, with a pointer to where."""
        said: dict[str, str] = {
            name: f"/distances/{at}" for at, d in enumerate(self.distances or ()) for name in (d.first, d.second)
        }
        said |= {name: f"/shared_cameras/{at}" for at, group in enumerate(self.shared_cameras or ()) for name in group}
        return said | {name: "/photos/" + name.replace("~", "~0").replace("/", "~1") for name in self.known}

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not self.model_dump(exclude_none=True, exclude_defaults=True, exclude={"schema_version"})

    def camera_of(self, name: str) -> Camera | None:
        """What is known of a photograph's camera, from itself or from another photograph of that camera."""
        group = next((group for group in self.shared_cameras or () if name in group), [name])
        cameras = (self.known[member].camera for member in (name, *group) if member in self.known)
        return next((camera for camera in cameras if camera is not None), None)

    def without(self, left_out: Collection[str]) -> CamerasDocument:
        """The same, but for what is said about some photographs."""
        if not left_out:
            return self
        kept = {name: photo for name, photo in self.known.items() if name not in left_out}
        turned = self.up is not None and (self.up.dominant_plane or any(photo.gravity for photo in kept.values()))
        return self.model_copy(
            update={
                "photos": kept,
                "up": self.up if turned else None,
                "shared_cameras": [[name for name in group if name not in left_out] for group in self.shared_cameras or ()],
                "distances": [d for d in self.distances or () if not {d.first, d.second} & set(left_out)],
            }
        )

    def as_json(self) -> bytes:
        """As it is stored: nothing that was not said."""
        return self.model_dump_json(exclude_none=True).encode()

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_groups()
        self._check_places()
        self._check_up()
        return self

    def _check_groups(self) -> None:
        for name, count in Counter(name for group in self.shared_cameras or () for name in group).items():
            if count > 1:
                raise impossible(f"{name} is in {count} places of shared_cameras; one photograph has one camera")
        for group in self.shared_cameras or ():
            cameras = [self.known[name].camera for name in group if name in self.known]
            lenses = {(c.model, tuple(c.params), c.width, c.height) for c in cameras if c is not None}
            if len(lenses) > 1:
                raise impossible(
                    f"the photographs {', '.join(group[:5])} share one camera and have {len(lenses)} different ones; give one"
                )

    def _check_places(self) -> None:
        positions, fixes = self._with("position"), self._with("gps")
        if positions and fixes:
            raise impossible(f"{positions[0]} has a position and {fixes[0]} a gps; give all in one way")
        if self.scale is not None and (self.distances or positions or fixes or self._with("pose")):
            raise impossible("scale cannot be given beside distances, poses or positions, which say the scale themselves")

    def _check_up(self) -> None:
        gravity = bool(self._with("gravity"))
        if self.up is not None and gravity == bool(self.up.dominant_plane):
            raise impossible("up needs either gravity of at least one photograph or dominant_plane, and not both")

    def _with(self, field: str) -> list[str]:
        return [name for name, photo in self.known.items() if getattr(photo, field) is not None]
