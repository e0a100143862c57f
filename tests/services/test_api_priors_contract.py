"""The contract's cameras document is the engine's: what one takes or refuses the other does, and they read the same of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mast3r_engine.errors import PriorsError
from mast3r_engine.lens import LONGEST_FOCAL, PARAMETERS, SHORTEST_FOCAL
from mast3r_engine.priors import ROTATION_TOLERANCE
from mast3r_engine.priors_document import priors_from_document
from services.api.problems import json_pointer
from services.contract import camera_checks
from services.contract.cameras import CamerasDocument
from tests.services.prior_documents import NAMES, RIGHT, WRONG, camera, covariance, of, turned


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_read_alike(name: str) -> None:
    document = CamerasDocument.model_validate(RIGHT[name], strict=True)
    stored = json.loads(document.as_json())
    assert CamerasDocument.model_validate(stored, strict=True) == document
    sent, kept = priors_from_document(RIGHT[name]), priors_from_document(stored)
    assert plain(sent) == plain(kept)
    assert set(document.names) == sent.names
    for photo in NAMES:
        ours, theirs = document.camera_of(photo), sent.camera_of(photo)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert (ours.width, tuple(ours.params)) == (theirs.lens.width, theirs.lens.params)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_by_both(name: str) -> None:
    document, pointer = WRONG[name]
    with pytest.raises(ValidationError) as refused:
        CamerasDocument.model_validate(document, strict=True)
    assert pointer in [json_pointer(error["loc"]) for error in refused.value.errors()]
    with pytest.raises(PriorsError):
        priors_from_document(document)


def test_the_limits_are_the_engine_s() -> None:
    assert camera_checks.PARAMETERS == PARAMETERS
    assert (camera_checks.SHORTEST_FOCAL, camera_checks.LONGEST_FOCAL) == (SHORTEST_FOCAL, LONGEST_FOCAL)
    assert camera_checks.ROTATION_TOLERANCE == ROTATION_TOLERANCE
    assert set(camera_checks.PARAMETERS) == set(
        CamerasDocument.model_json_schema()["$defs"]["Camera"]["properties"]["model"]["enum"]
    )


def plain(value: Any) -> Any:
    """Dataclasses and arrays as what can be compared."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def both_take(document: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the contract and the engine take a document."""
    taken = []
    for read in (lambda: CamerasDocument.model_validate(document, strict=True), lambda: priors_from_document(document)):
        try:
            read()
            taken.append(True)
        except (ValidationError, PriorsError):
            taken.append(False)
    return taken[0], taken[1]


@given(st.lists(st.floats(-1.0, 1.0), min_size=36, max_size=36), st.floats(0.0, 0.3))
def test_covariances_are_judged_alike(values: list[float], least: float) -> None:
    """Cholesky's decomposition here, eigenvalues there; at the very border either may be right."""
    A = np.array(values).reshape(6, 6)
    C = A + A.T + (least - 0.15) * np.eye(6) if least < 0.15 else A @ A.T + (least - 0.15) * np.eye(6)
    if abs(np.linalg.eigvalsh(C).min()) > 1e-9:
        ours, theirs = both_take(of(pose={"cam2world": turned(), "covariance": C.tolist()}))
        assert ours == theirs


@given(st.lists(st.floats(-2e-3, 2e-3), min_size=9, max_size=9))
def test_rotations_are_judged_alike(noise: list[float]) -> None:
    pose = np.array(turned())
    pose[:3, :3] += np.array(noise).reshape(3, 3)
    R = pose[:3, :3]
    if abs(np.abs(R @ R.T - np.eye(3)).max() - ROTATION_TOLERANCE) > 1e-12:
        ours, theirs = both_take(of(pose={"cam2world": pose.tolist()}))
        assert ours == theirs


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=4, max_size=4), st.integers(-3, 10**7))
def test_cameras_are_judged_alike(params: list[float], width: int) -> None:
    ours, theirs = both_take(of(camera=camera(params=params, width=width)))
    assert ours == theirs or (theirs and width > 10**6)


@pytest.mark.parametrize("huge", [1e308, 10**400, -1e308])
def test_huge_numbers_are_refused_and_break_nothing(huge: Any) -> None:
    hostile = [
        of(camera=camera(width=huge)),
        of(camera=camera(params=[huge] * 4)),
        of(pose={"cam2world": [[huge] * 4] * 4}),
        of(pose={"cam2world": turned(), "covariance": [[huge] * 6] * 6}),
    ]
    for document in hostile:
        with pytest.raises(ValidationError):
            CamerasDocument.model_validate(document, strict=True)
    large = covariance()
    large[0][0] = 1e300
    assert math.isfinite(large[0][0])
    CamerasDocument.model_validate(of(pose={"cam2world": turned(), "covariance": large}), strict=True)


def test_what_is_left_out_is_left_out_everywhere() -> None:
    document = CamerasDocument.model_validate(
        {
            "photos": {"a.jpg": {"gravity": [0, 1, 0]}, "b.jpg": {"pose": {"cam2world": turned()}}},
            "shared_cameras": [["a.jpg", "b.jpg", "c.jpg"]],
            "distances": [{"first": "a.jpg", "second": "b.jpg", "metres": 1}, {"first": "b.jpg", "second": "c.jpg", "metres": 1}],
            "up": {"axis": "z"},
        },
        strict=True,
    )
    left = document.without(["a.jpg"])
    assert set(left.names) == {"b.jpg", "c.jpg"}
    assert left.up is None  # nothing says any more where it is
    assert left.distances is not None
    assert [distance.second for distance in left.distances] == ["c.jpg"]
    assert priors_from_document(json.loads(left.as_json())).names == {"b.jpg", "c.jpg"}
    assert document.without([]).as_json() == document.as_json()
