"""A robot that knows where it is: odometry at every step, a camera fix now and then, each with the last pose as prior.

    python examples/robot/odometry_loop.py http://127.0.0.1:8000 MAP_ID frames/    [--key m3r_…]

`frames/` holds `000123.jpg` with `000123.txt` beside it: odometry since the frame before, 4x4 row by row (camera to camera,
OpenCV axes, metres). The loop keeps one belief, a pose and its 6x6 covariance (translation, rotation vector, left perturbation in
the map's frame), lets it drift with odometry, and corrects it with every fix (a Kalman update on SE(3)). Needs httpx and numpy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ODOMETRY_NOISE = np.diag([0.02, 0.02, 0.02, 0.01, 0.01, 0.01]) ** 2  # per step: 2 cm and 0.6 degrees
RADIUS_SIGMAS = 3.0
MIN_RADIUS_M = 0.5
GATE = 22.5  # chi-square of 6 degrees of freedom at 99.9 %: a fix farther from the belief than that is not taken
DEADLINE_MS = 1_500  # a fix that comes later than the robot can use is worth nothing


@dataclass
class Belief:
    """Where the robot thinks it is; None: lost, the whole map is searched."""

    pose: Floats  # (4, 4) camera to map
    covariance: Floats  # (6, 6)

    def move(self, step: Floats) -> None:
        """Follow odometry: `step` is the new camera in the old one's frame."""
        carried = adjoint(self.pose) @ ODOMETRY_NOISE @ adjoint(self.pose).T  # the noise is the robot's, the belief the map's
        self.pose, self.covariance = self.pose @ step, self.covariance + carried

    def correct(self, pose: Floats, covariance: Floats) -> bool:
        """Take a fix, unless it contradicts the belief."""
        innovation = log_se3(pose @ np.linalg.inv(self.pose))
        total = self.covariance + covariance
        if innovation @ np.linalg.solve(total, innovation) > GATE:
            return False
        gain = self.covariance @ np.linalg.inv(total)
        self.pose = exp_se3(gain @ innovation) @ self.pose
        self.covariance = (np.eye(6) - gain) @ self.covariance
        return True

    def prior(self) -> dict[str, Any]:
        """What the service is told: search only where the robot can be."""
        spread = float(np.sqrt(np.linalg.eigvalsh(self.covariance[:3, :3]).max()))
        return {"pose": self.pose.tolist(), "radius": max(MIN_RADIUS_M, RADIUS_SIGMAS * spread)}


def follow(http: httpx.Client, map_id: str, frames: Iterator[tuple[bytes, Floats]]) -> Iterator[tuple[Belief | None, str]]:
    """Give the belief after every frame, and what became of its query."""
    belief: Belief | None = None
    for image, step in frames:
        if belief is not None:
            belief.move(step)
        answer = ask(http, map_id, image, belief)
        if answer is None:
            yield belief, "no answer in time; odometry alone"
        elif not answer["localized"]:
            yield belief, f"not localised: {answer['reason']}"
        else:
            pose = np.array(answer["pose"]["matrix"])
            covariance = np.array(answer["confidence"]["covariance"])
            if belief is None:
                belief = Belief(pose, covariance)
                yield belief, "found"
            else:
                yield belief, "corrected" if belief.correct(pose, covariance) else "a fix that contradicts odometry was left out"


def ask(http: httpx.Client, map_id: str, image: bytes, belief: Belief | None) -> dict[str, Any] | None:
    """Localise one frame; None when the service cannot answer in time (503) or is not reached: a robot drives on."""
    query: dict[str, Any] = {"deadline_ms": DEADLINE_MS}
    if belief is not None:
        query["prior"] = belief.prior()
    try:
        answer = http.post(
            f"/v1/maps/{map_id}/localize",
            files={"image": ("frame.jpg", image, "image/jpeg")},
            data={"query": json.dumps(query)},
            timeout=DEADLINE_MS / 1000 + 1,
        )
    except httpx.TransportError:
        return None
    if answer.status_code == 503:
        return None
    answer.raise_for_status()  # anything else is a mistake of ours: the problem document says which
    found: dict[str, Any] = answer.json()
    return found


def adjoint(T: Floats) -> Floats:  # (4, 4) -> (6, 6)
    """Carry a perturbation (translation, rotation vector) from a frame to the one that T leads to."""
    R, t = T[:3, :3], T[:3, 3]
    return np.block([[R, skew(t) @ R], [np.zeros((3, 3)), R]])


def skew(v: Floats) -> Floats:
    """The matrix of the cross product."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def exp_se3(x: Floats) -> Floats:  # (6,) -> (4, 4)
    """Rotation of the vector x[3:], and x[:3] as it is: the service's parametrisation of a perturbation."""
    angle, T = float(np.linalg.norm(x[3:])), np.eye(4)
    K = skew(x[3:] / angle) if angle > 1e-12 else np.zeros((3, 3))
    T[:3, :3] = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
    T[:3, 3] = x[:3]
    return T


def log_se3(T: Floats) -> Floats:  # (4, 4) -> (6,)
    """The inverse of `exp_se3`."""
    angle = float(np.arccos(np.clip((np.trace(T[:3, :3]) - 1) / 2, -1.0, 1.0)))
    axis = np.array([T[2, 1] - T[1, 2], T[0, 2] - T[2, 0], T[1, 0] - T[0, 1]])
    scale = 0.5 if angle < 1e-9 else angle / (2 * np.sin(angle))
    return np.concatenate([T[:3, 3], scale * axis])


def read_frames(folder: Path) -> Iterator[tuple[bytes, Floats]]:
    """Frames in order, each with odometry since the one before."""
    for photo in sorted(folder.glob("*.jpg")):
        beside = photo.with_suffix(".txt")
        yield photo.read_bytes(), np.loadtxt(beside).reshape(4, 4) if beside.exists() else np.eye(4)


def main() -> None:
    """Follow the frames of a folder and print what is known after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("map_id")
    parser.add_argument("frames", type=Path)
    parser.add_argument("--key", help="API key of the service")
    wanted = parser.parse_args()
    headers = {"Authorization": f"Bearer {wanted.key}"} if wanted.key else {}
    with httpx.Client(base_url=wanted.url, headers=headers) as http:
        for number, (belief, what) in enumerate(follow(http, wanted.map_id, read_frames(wanted.frames))):
            if belief is None:
                print(f"{number:5d}  lost  {what}")
                continue
            x, y, z = belief.pose[:3, 3]
            sigma = np.sqrt(np.diag(belief.covariance)[:3]).max()
            print(f"{number:5d}  {x:8.3f} {y:8.3f} {z:8.3f} m  +- {sigma:.3f}  {what}")


if __name__ == "__main__":
    main()
