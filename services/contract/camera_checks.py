"""What a camera, a rotation and a covariance must be like; the engine asks the same of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic_core import PydanticCustomError

PARAMETERS: dict[str, tuple[str, ...]] = {  # COLMAP's models
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
SHORTEST_FOCAL, LONGEST_FOCAL = 0.1, 50.0  # of the longer side
ROTATION_TOLERANCE = 1e-3  # of R R^T against the identity
LAST_ROW_TOLERANCE = 1e-9
SYMMETRY = 1e-6  # relative


def impossible(text: str) -> PydanticCustomError:
    """What is known beforehand cannot be; the text says what and what would be right."""
    return PydanticCustomError("impossible", "{text}", {"text": text})


def check_camera(model: str, params: Sequence[float], width: int, height: int) -> None:
    """Refuse parameters that no camera of this model and size has; pixels of the upright photograph."""
    names = PARAMETERS[model]
    if len(params) != len(names):
        raise impossible(f"{model} has {len(params)} params; it takes {len(names)}: {', '.join(names)}")
    by_name = dict(zip(names, params))
    focals = (by_name["f"],) * 2 if "f" in by_name else (by_name["fx"], by_name["fy"])
    longest = max(width, height)
    least, most = SHORTEST_FOCAL * longest, LONGEST_FOCAL * longest
    if not least <= min(focals) <= max(focals) <= most:
        raise impossible(
            f"focal lengths {focals} do not fit photographs of {width}x{height} pixels; they are in pixels of the upright "
            f"original, between {least:g} and {most:g}"
        )
    if not 0.5 <= focals[0] / focals[1] <= 2:
        raise impossible(f"focal lengths {focals} differ by more than a factor of 2; pixels are nearly square")
    cx, cy = by_name["cx"], by_name["cy"]
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        raise impossible(
            f"the principal point ({cx:g}, {cy:g}) lies outside the photograph of {width}x{height} pixels; give it in pixels of "
            "the upright original"
        )


def check_pose(cam2world: Sequence[Sequence[float]]) -> None:
    """Refuse what is no rigid motion."""
    _require_shape("cam2world", cam2world, 4)
    R = [row[:3] for row in cam2world[:3]]
    off = max(abs(_dot(R[i], R[j]) - (i == j)) for i in range(3) for j in range(3))
    if not off <= ROTATION_TOLERANCE or _determinant(R) < 0:
        raise impossible(
            f"cam2world has {R} in its upper left, which is no rotation (determinant {_determinant(R):.4g}); it must be "
            "orthonormal with determinant 1, without scale or mirroring"
        )
    if max(abs(value - wanted) for value, wanted in zip(cam2world[3], (0, 0, 0, 1))) > LAST_ROW_TOLERANCE:
        raise impossible(f"cam2world ends in the row {list(cam2world[3])}; it must be [0, 0, 0, 1]")


def check_covariance(values: Sequence[Sequence[float]], size: int = 6) -> None:
    """Refuse what is not symmetric and positive definite, as Cholesky's decomposition tells."""
    _require_shape("covariance", values, size)
    largest = max(abs(value) for row in values for value in row)
    symmetric = all(abs(values[i][j] - values[j][i]) <= SYMMETRY * largest for i in range(size) for j in range(i))
    if not symmetric or not _has_cholesky(values, size):
        raise impossible(f"covariance is {[list(row) for row in values]}; it must be symmetric and positive definite")


def _has_cholesky(values: Sequence[Sequence[float]], size: int) -> bool:
    L = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = values[i][j] - _dot(L[i][:j], L[j][:j])
            if i == j and not 0 < rest < math.inf:
                return False
            L[i][j] = math.sqrt(rest) if i == j else rest / L[j][j]
    return True


def _require_shape(what: str, rows: Sequence[Sequence[float]], size: int) -> None:
    if len(rows) != size or any(len(row) != size for row in rows):
        raise impossible(f"{what} has rows of {[len(row) for row in rows][:8]} numbers; it must be {size}x{size}")


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b))


def _determinant(R: Sequence[Sequence[float]]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = R
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
