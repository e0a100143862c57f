"""Localisation: where a photograph was taken, asked against reference photographs or frozen scenes, and the answer."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from services.contract.ids import JOB_ID_PATTERN
from services.contract.jobs import Model

REFERENCE_ID_PATTERN = JOB_ID_PATTERN.replace("job_", "ref_")
MAP_ID_PATTERN = JOB_ID_PATTERN.replace("job_", "map_")
ReferenceId = Annotated[str, Field(pattern=REFERENCE_ID_PATTERN)]
MapId = Annotated[str, Field(pattern=MAP_ID_PATTERN)]

RIGID_TOLERANCE = 1e-3  # how far the rotation may be from orthonormal; 32-bit matrices pass
MAX_COORDINATE = 1e7  # metres; beyond it 64-bit floats no longer hold micrometres

Coordinate = Annotated[FiniteFloat, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
Point = Annotated[list[Coordinate], Field(min_length=3, max_length=3)]
Row = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]


def check_rigid(matrix: list[list[float]]) -> list[list[float]]:
    """Refuse a 4x4 matrix that is not rotation and translation; ValueError says how far it is from one."""
    R = [row[:3] for row in matrix[:3]]
    products = [[sum(a * b for a, b in zip(R[i], R[j], strict=True)) for j in range(3)] for i in range(3)]
    skew = max(abs(products[i][j] - (i == j)) for i in range(3) for j in range(3))
    determinant = (
        R[0][0] * (R[1][1] * R[2][2] - R[1][2] * R[2][1])
        - R[0][1] * (R[1][0] * R[2][2] - R[1][2] * R[2][0])
        + R[0][2] * (R[1][0] * R[2][1] - R[1][1] * R[2][0])
    )
    if skew > RIGID_TOLERANCE or determinant < 0:
        raise ValueError(f"its rotation is {skew:.3g} from orthonormal with determinant {determinant:.3g}; give camera to world")
    if max(abs(a - b) for a, b in zip(matrix[3], (0, 0, 0, 1), strict=True)) > RIGID_TOLERANCE:
        raise ValueError(f"the last row is {matrix[3]}; it must be [0, 0, 0, 1]")
    return matrix


# Camera to world, row by row; OpenCV axes.
Matrix4 = Annotated[list[Row], Field(min_length=4, max_length=4), AfterValidator(check_rigid)]

_COLMAP = {"PINHOLE": 4, "SIMPLE_PINHOLE": 3}  # model -> number of parameters


class CameraIntrinsics(Model):
    """A pinhole camera in pixels of the upright photograph, pixel centres at integers.

    COLMAP's form `{model, width, height, params}` with PINHOLE or SIMPLE_PINHOLE is taken too.
    """

    fx: Annotated[FiniteFloat, Field(gt=0)]
    fy: Annotated[FiniteFloat, Field(gt=0)]
    cx: FiniteFloat
    cy: FiniteFloat
    width: int | None = Field(default=None, gt=0, description="Of the photographs this camera takes; another size is refused.")
    height: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def read_colmap(cls, value: Any) -> Any:
        """Take COLMAP's form."""
        if not isinstance(value, dict) or not {"model", "params"} & value.keys():
            return value
        model, params = value.get("model"), value.get("params")
        if model not in _COLMAP:
            raise ValueError(f"model is {str(model)[:40]!r}; PINHOLE and SIMPLE_PINHOLE are taken, undistort others first")
        if not isinstance(params, list) or len(params) != _COLMAP[model]:
            raise ValueError(f"params of {model} are {_COLMAP[model]} numbers")
        fx, fy, cx, cy = params if model == "PINHOLE" else (params[0], *params)
        rest = {name: given for name, given in value.items() if name not in ("model", "params")}
        return {"fx": fx, "fy": fy, "cx": cx, "cy": cy, **rest}

    @model_validator(mode="after")
    def size_is_whole(self) -> CameraIntrinsics:
        """Width and height come together."""
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height come together")
        return self


class Prior(Model):
    """Where the query is thought to be, such as the last pose carried on by odometry; only places near it are searched."""

    position: Point | None = Field(default=None, description="Camera centre in the map's frame.")
    pose: Matrix4 | None = Field(default=None, description="Camera to map, instead of `position`.")
    radius: Annotated[FiniteFloat, Field(gt=0)] = Field(description="In the map's unit, metres if it is metric.")
    map_id: MapId | None = Field(default=None, description="Whose frame it is in, where several maps are searched.")

    @model_validator(mode="after")
    def one_place(self) -> Prior:
        """A position or a pose."""
        if (self.position is None) == (self.pose is None):
            raise ValueError("give position or pose, one of them")
        return self


class InlineReference(Model):
    """What is known of a reference photograph that comes with the query."""

    name: str | None = Field(default=None, max_length=200)
    intrinsics: CameraIntrinsics | None = None
    pose: Matrix4 | None = Field(default=None, description="Camera to world.")


class MapQuery(Model):
    """The `query` part of `POST /v1/maps/{map_id}/localize`."""

    intrinsics: CameraIntrinsics | None = None
    prior: Prior | None = None
    deadline_ms: int | None = Field(default=None, gt=0, description="Milliseconds from now; refused at once if it cannot be met.")


class LocalizeQuery(MapQuery):
    """The `query` part of `POST /v1/localize`."""

    reference_ids: list[ReferenceId] = Field(default_factory=list)
    references: list[InlineReference] = Field(
        default_factory=list, description="Facts about the parts `references`, in their order; may be left out."
    )
    map_ids: list[MapId] = Field(default_factory=list, description="Instead of references.")


class PoseConvention(Model):
    """How `pose` is to be read."""

    transform: Literal["camera_to_frame"] = "camera_to_frame"
    axes: Literal["opencv"] = "opencv"  # x right, y down, z forward
    quaternion: Literal["wxyz"] = "wxyz"
    units: Literal["metres", "arbitrary"] = "metres"
    covariance: Literal["translation_rotation_left_in_frame"] = "translation_rotation_left_in_frame"


class PoseFrame(Model):
    """In which frame a pose is given: a reference's camera, the world of the references' poses, or a map."""

    kind: Literal["reference", "world", "map"]
    id: str | None = None  # `ref_…` or `map_…`; null for a photograph that came with the query, and for a world
    index: int | None = None  # the reference's place in the request: reference_ids first, then the parts


class LocalizedPose(Model):
    """The query camera's pose."""

    matrix: Matrix4
    position: Point  # camera centre
    quaternion: list[float]  # w, x, y, z; w >= 0
    frame: PoseFrame
    convention: PoseConvention


class PoseScale(Model):
    """Whether lengths are metres, and how that is known."""

    metric: bool
    source: str


class Confidence(Model):
    """How far the pose can be trusted."""

    inliers: int
    inlier_ratio: float
    reprojection_px: float  # root mean square over the inliers, pixels of the query
    covariance: list[list[float]]  # 6x6: translation, then rotation vector (radians), in the frame, left perturbation


class TimingMs(Model):
    """Where the time went, in milliseconds."""

    queue: float  # waiting for the worker
    decode: float  # reading the photographs
    infer: float  # network and pose
    total: float  # from the request's arrival to its answer


class LocalizeAnswer(Model):
    """The pose of the query, or why there is none."""

    localized: bool
    reason: str | None = None  # stable; null when localized
    detail: str | None = None
    pose: LocalizedPose | None = None
    scale: PoseScale | None = None
    confidence: Confidence | None = None
    used: list[str] = Field(default_factory=list)  # ids or names of the photographs that the pose rests on
    timing_ms: TimingMs


def quaternion_of(R: list[list[float]]) -> list[float]:
    """The unit quaternion (w, x, y, z), w >= 0, of a rotation matrix (Shepperd 1978)."""
    trace = R[0][0] + R[1][1] + R[2][2]
    sizes = [trace, R[0][0], R[1][1], R[2][2]]
    largest = max(range(4), key=lambda k: sizes[k])
    if largest == 0:
        w, x, y, z = 1 + trace, R[2][1] - R[1][2], R[0][2] - R[2][0], R[1][0] - R[0][1]
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        parts = [0.0, 0.0, 0.0]
        parts[i] = 1 + R[i][i] - R[j][j] - R[k][k]
        parts[j], parts[k] = R[j][i] + R[i][j], R[k][i] + R[i][k]
        w, (x, y, z) = R[k][j] - R[j][k], parts
    norm = math.sqrt(w * w + x * x + y * y + z * z) * (-1 if w < 0 else 1)
    return [w / norm, x / norm, y / norm, z / norm]
