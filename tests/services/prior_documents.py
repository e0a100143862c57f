"""Cameras documents, right ones and wrong ones: for the contract, the engine and the API alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
SIZE = (64, 48)  # width, height


def camera(**changes: Any) -> dict[str, Any]:
    """A pinhole of the small photographs."""
    return {"model": "PINHOLE", "params": [60.0, 60.0, 31.5, 23.5], "width": SIZE[0], "height": SIZE[1], **changes}


def turned(degrees: float = 30.0, x: float = 1.0) -> list[list[float]]:
    """A pose."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[c, 0.0, s, x], [0.0, 1.0, 0.0, 0.5], [-s, 0.0, c, -2.0], [0.0, 0.0, 0.0, 1.0]]


def mirrored() -> list[list[float]]:
    pose = turned()
    return [[-value for value in pose[0][:3]] + [pose[0][3]], *pose[1:]]


def scaled(factor: float) -> list[list[float]]:
    return [[factor * value for value in row[:3]] + row[3:] for row in turned()[:3]] + [turned()[3]]


def covariance(**changes: float) -> list[list[float]]:
    """Positions to 10 cm, rotations to a degree, somewhat correlated."""
    C = np.diag([0.01, 0.01, 0.01, 3e-4, 3e-4, 3e-4])
    C[0, 5] = C[5, 0] = 5e-4
    for place, value in changes.items():
        C[int(place[1]), int(place[2])] = value
    rows: list[list[float]] = C.tolist()
    return rows


def of(name: str = "a.jpg", **facts: Any) -> dict[str, Any]:
    """A document about one photograph."""
    return {"photos": {name: facts}}


FIX = {"latitude": 47.4, "longitude": 8.5, "altitude": 400.0, "sigma": 3.0}

RIGHT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "nulls": {"photos": None, "up": None, "shared_cameras": None, "distances": None, "exif_focal_sigma": None},
    "version": {"schema_version": 1},
    "pinhole": of(camera=camera()),
    "whole numbers": of(camera=camera(params=[60, 60, 31, 23])),
    "modes and sigmas": {
        "photos": {
            "a.jpg": {"camera": camera(mode="fixed")},
            "b.jpg": {"camera": camera(mode="prior", focal_sigma=0.05, principal_sigma=3)},
            "c.jpg": {"camera": camera(mode="refined")},
        }
    },
    "simple pinhole": of(camera=camera(model="SIMPLE_PINHOLE", params=[60, 31.5, 23.5])),
    "simple radial": of(camera=camera(model="SIMPLE_RADIAL", params=[60, 31.5, 23.5, -0.1])),
    "radial": of(camera=camera(model="RADIAL", params=[60, 31.5, 23.5, -0.1, 0.01])),
    "opencv": of(camera=camera(model="OPENCV", params=[60, 61, 31.5, 23.5, -0.1, 0.01, 1e-3, 1e-3])),
    "fisheye": of(camera=camera(model="OPENCV_FISHEYE", params=[60, 61, 31.5, 23.5, 0.1, 0.0, 0.0, 0.0])),
    "fixed pose": of(pose={"cam2world": turned()}),
    "pose of four digits": of(pose={"cam2world": np.round(turned(), 4).tolist()}),
    "pose with covariance": of(pose={"cam2world": turned(), "covariance": covariance()}),
    "positions": {"photos": {n: {"position": {"metres": [k, 0.0, 0.0], "sigma": 0.1}} for k, n in enumerate(NAMES)}},
    "position with three sigmas": of(position={"metres": [1, 2, 3], "sigma": [0.1, 0.1, 1]}),
    "gps": {
        "photos": {"a.jpg": {"gps": FIX}, "b.jpg": {"gps": {**FIX, "sigma": [3, 3, 9]}}},
        "gps_origin": {"latitude": 47, "longitude": 8},
    },
    "gravity": {**of(gravity=[0, 9.81, 0]), "up": {"axis": "-y"}},
    "timestamps": {"photos": {name: {"timestamp": 1_700_000_000.25 + k} for k, name in enumerate(NAMES)}},
    "ground": {"up": {"dominant_plane": True}},
    "shared": {**of(camera=camera()), "shared_cameras": [["a.jpg", "b.jpg"], ["c.jpg"]]},
    "shared and the same said twice": {
        "photos": {"a.jpg": {"camera": camera()}, "b.jpg": {"camera": camera()}},
        "shared_cameras": [["a.jpg", "b.jpg"]],
    },
    "distance": {"distances": [{"first": "a.jpg", "second": "b.jpg", "metres": 2}]},
    "distance of pixels": {
        "distances": [
            {"first": "a.jpg", "second": "a.jpg", "metres": 2, "sigma": 0.1, "first_pixel": [1, 2], "second_pixel": [9, 9]}
        ]
    },
    "scale": {"scale": {"factor": 2.5}, "exif_focal_sigma": 0.03},
}

# What is wrong, and where the contract points to.
WRONG: dict[str, tuple[Any, str]] = {
    "a member nobody knows": ({"cameras": {}}, "/cameras"),
    "a photograph's member nobody knows": (of(lens={}), "/photos/a.jpg/lens"),
    "another version": ({"schema_version": 2}, "/schema_version"),
    "no object": ([], ""),
    "photographs in a list": ({"photos": ["a.jpg"]}, "/photos"),
    "an unknown model": (of(camera=camera(model="FOV")), "/photos/a.jpg/camera/model"),
    "too few params": (of(camera=camera(params=[60.0, 31.5, 23.5])), "/photos/a.jpg/camera"),
    "too many params": (of(camera=camera(params=[60.0] * 5)), "/photos/a.jpg/camera"),
    "a param that is NaN": (of(camera=camera(params=[math.nan, 60.0, 31.5, 23.5])), "/photos/a.jpg/camera/params/0"),
    "a param that is infinite": (of(camera=camera(params=[60.0, math.inf, 31.5, 23.5])), "/photos/a.jpg/camera/params/1"),
    "a param that is text": (of(camera=camera(params=["60", 60.0, 31.5, 23.5, "x"])), "/photos/a.jpg/camera/params/0"),
    "a focal length of a thousandth": (of(camera=camera(params=[0.06, 0.06, 31.5, 23.5])), "/photos/a.jpg/camera"),
    "a focal length of a mile": (of(camera=camera(params=[6e4, 6e4, 31.5, 23.5])), "/photos/a.jpg/camera"),
    "a negative focal length": (of(camera=camera(params=[-60.0, 60.0, 31.5, 23.5])), "/photos/a.jpg/camera"),
    "pixels that are not square": (of(camera=camera(params=[60.0, 130.0, 31.5, 23.5])), "/photos/a.jpg/camera"),
    "a principal point outside": (of(camera=camera(params=[60.0, 60.0, 99.0, 23.5])), "/photos/a.jpg/camera"),
    "a width of nothing": (of(camera=camera(width=0)), "/photos/a.jpg/camera/width"),
    "no width": (of(camera={"model": "PINHOLE", "params": [60.0, 60.0, 31.5, 23.5], "height": 48}), "/photos/a.jpg/camera/width"),
    "an unknown mode": (of(camera=camera(mode="free")), "/photos/a.jpg/camera/mode"),
    "a sigma of zero": (of(camera=camera(focal_sigma=0)), "/photos/a.jpg/camera/focal_sigma"),
    "a sigma below zero": (of(camera=camera(principal_sigma=-1.0)), "/photos/a.jpg/camera/principal_sigma"),
    "a pose that is mirrored": (of(pose={"cam2world": mirrored()}), "/photos/a.jpg/pose"),
    "a pose with a scale": (of(pose={"cam2world": scaled(1.01)}), "/photos/a.jpg/pose"),
    "a pose that is no rotation at all": (of(pose={"cam2world": np.ones((4, 4)).tolist()}), "/photos/a.jpg/pose"),
    "a pose of zeros": (of(pose={"cam2world": np.zeros((4, 4)).tolist()}), "/photos/a.jpg/pose"),
    "a pose with another last row": (of(pose={"cam2world": [*turned()[:3], [0.0, 0.0, 0.0, 2.0]]}), "/photos/a.jpg/pose"),
    "a pose of three rows": (of(pose={"cam2world": turned()[:3]}), "/photos/a.jpg/pose"),
    "a pose with NaN": (of(pose={"cam2world": turned(x=math.nan)}), "/photos/a.jpg/pose/cam2world/0/3"),
    "a pose that is empty": (of(pose={}), "/photos/a.jpg/pose/cam2world"),
    "a covariance that is not symmetric": (
        of(pose={"cam2world": turned(), "covariance": covariance(c12=0.005)}),
        "/photos/a.jpg/pose",
    ),
    "a covariance that is negative": (of(pose={"cam2world": turned(), "covariance": covariance(c22=-0.1)}), "/photos/a.jpg/pose"),
    "a covariance that is singular": (of(pose={"cam2world": turned(), "covariance": covariance(c33=0.0)}), "/photos/a.jpg/pose"),
    "a covariance of 3x3": (of(pose={"cam2world": turned(), "covariance": np.eye(3).tolist()}), "/photos/a.jpg/pose"),
    "a position without sigma": (of(position={"metres": [1, 2, 3]}), "/photos/a.jpg/position/sigma"),
    "a position of two numbers": (of(position={"metres": [1, 2], "sigma": 1}), "/photos/a.jpg/position/metres"),
    "two sigmas": (of(position={"metres": [1, 2, 3], "sigma": [1, 1]}), "/photos/a.jpg/position/sigma/list[constrained-float]"),
    "a position and a gps": (of(position={"metres": [1, 2, 3], "sigma": 1}, gps=FIX), "/photos/a.jpg"),
    "positions here and gps there": (
        {"photos": {"a.jpg": {"position": {"metres": [1, 2, 3], "sigma": 1}}, "b.jpg": {"gps": FIX}}},
        "",
    ),
    "a latitude of 91": (of(gps={**FIX, "latitude": 91}), "/photos/a.jpg/gps/latitude"),
    "a longitude that is text": (of(gps={**FIX, "longitude": "8 E"}), "/photos/a.jpg/gps/longitude"),
    "an altitude of the moon": (of(gps={**FIX, "altitude": 4e8}), "/photos/a.jpg/gps/altitude"),
    "a gps without sigma": (of(gps={"latitude": 1, "longitude": 2}), "/photos/a.jpg/gps/sigma"),
    "gravity of no length": (of(gravity=[0, 0, 0]), "/photos/a.jpg"),
    "gravity of two numbers": (of(gravity=[0, 1]), "/photos/a.jpg/gravity"),
    "a time that is NaN": (of(timestamp=math.nan), "/photos/a.jpg/timestamp"),
    "a time in nanoseconds": (of(timestamp=1_700_000_000_000_000_000), "/photos/a.jpg/timestamp"),
    "a time that is text": (of(timestamp="2026-01-01"), "/photos/a.jpg/timestamp"),
    "up without anything": ({"up": {}}, ""),
    "up by both": ({**of(gravity=[0, 1, 0]), "up": {"dominant_plane": True}}, ""),
    "up along x": ({**of(gravity=[0, 1, 0]), "up": {"axis": "x"}}, "/up/axis"),
    "a photograph in two groups": ({"shared_cameras": [["a.jpg", "b.jpg"], ["b.jpg", "c.jpg"]]}, ""),
    "groups that are none": ({"shared_cameras": ["a.jpg"]}, "/shared_cameras/0"),
    "a group with two cameras": (
        {
            "photos": {"a.jpg": {"camera": camera()}, "b.jpg": {"camera": camera(params=[70.0, 70.0, 31.5, 23.5])}},
            "shared_cameras": [["a.jpg", "b.jpg"]],
        },
        "",
    ),
    "a distance of nothing": ({"distances": [{"first": "a.jpg", "second": "b.jpg", "metres": 0}]}, "/distances/0/metres"),
    "a distance to itself": ({"distances": [{"first": "a.jpg", "second": "a.jpg", "metres": 1}]}, "/distances/0"),
    "a distance with one pixel": (
        {"distances": [{"first": "a.jpg", "second": "b.jpg", "metres": 1, "first_pixel": [1, 2]}]},
        "/distances/0",
    ),
    "a distance to nowhere": ({"distances": [{"first": "a.jpg", "metres": 1}]}, "/distances/0/second"),
    "distances that are none": ({"distances": {"first": "a.jpg"}}, "/distances"),
    "a scale of nothing": ({"scale": {"factor": 0}}, "/scale/factor"),
    "a scale beside a pose": ({**of(pose={"cam2world": turned()}), "scale": {"factor": 2}}, ""),
    "an EXIF sigma below zero": ({"exif_focal_sigma": -0.1}, "/exif_focal_sigma"),
}
