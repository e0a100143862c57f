"""poses.json: the layout, the schema, nothing that JSON does not know."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from mast3r_engine.export import load_poses_schema, poses_document, write_poses
from tests.engine.room_reconstruction import room_reconstruction

VALIDATOR = jsonschema.Draft202012Validator(load_poses_schema())


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(load_poses_schema())


def test_a_scene_with_everything_in_it(tmp_path: Path) -> None:
    scene = room_reconstruction(4, component=[0, 0, 1, -1])
    scene.intrinsics[3] = np.nan
    write_poses(scene, tmp_path / "poses.json")
    text = (tmp_path / "poses.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert document == poses_document(scene)
    VALIDATOR.validate(document)
    assert list(document) == ["schema_version", "metric", "axes", "world", "images", "pairs"]
    first, lost = document["images"][0], document["images"][3]
    assert first["name"] == "photo 0 für.jpg"
    assert (first["registered"], first["reason"], first["component"]) == (True, None, 0)
    assert (first["width"], first["height"], first["exif_orientation"]) == (400, 300, 1)
    np.testing.assert_allclose(first["cam2world"], np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(first["K"], scene.intrinsics[0])
    assert first["confidence"] == 5.0
    assert (lost["registered"], lost["reason"], lost["component"]) == (False, "no pair holds", -1)
    assert lost["cam2world"] is lost["K"] is lost["confidence"] is None
    assert document["pairs"][0] == {"i": 0, "j": 1, "matches": 200, "inliers": 180}
    assert len(document["pairs"]) == 6


def test_no_photo_and_no_pair() -> None:
    scene = dataclasses.replace(room_reconstruction(1), pairs=[], names=[])
    document = poses_document(scene)
    assert document["images"] == document["pairs"] == []
    VALIDATOR.validate(document)


def _break(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    broken = copy.deepcopy(document)
    *way, last = path.split(".")
    place: Any = broken
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    return broken


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 2),
        ("axes", "opengl"),
        ("extra", 1),
        ("images.0.cam2world", None),
        ("images.0.component", -1),
        ("images.0.reason", "why"),
        ("images.2.reason", None),
        ("images.2.cam2world", np.eye(4).tolist()),
        ("images.0.K", [[1, 0], [0, 1]]),
        ("images.0.width", 0),
        ("images.0.exif_orientation", 9),
        ("pairs.0.inliers", -1),
    ],
)
def test_the_schema_refuses_what_is_wrong(path: str, value: Any) -> None:
    document = poses_document(room_reconstruction(3, component=[0, 0, -1]))
    VALIDATOR.validate(document)
    assert not VALIDATOR.is_valid(_break(document, path, value))
