"""The Python client's references, maps and poses, against the real API and a localisation worker with the fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3r_client import AsyncClient, CameraIntrinsics, Client, InvalidRequest, NotFound, RetryPolicy, Unavailable
from services.adapters.settings import Settings
from tests.services.api_stand import good_photos
from tests.services.fake_localisation import photo_that
from tests.services.localisation_stand import POSE, Localising, open_localising

QUICK = RetryPolicy(first_s=0.02, longest_s=0.3, patience_s=20.0)
FILES = {"poses.json": b"{}", "scene.ply": b"ply"}


@pytest.fixture
def localising(settings: Settings, tmp_path: Path) -> Iterator[Localising]:
    with open_localising(settings, tmp_path, start=False) as made:
        yield made


def test_references_maps_and_queries(localising: Localising) -> None:
    localising.start_worker()
    query, camera = ("q.jpg", photo_that("")), CameraIntrinsics(60.0, 60.0, 31.5, 23.5)
    with Client(localising.api.url, retry=QUICK) as client:
        kept = client.create_reference(query, name="door", intrinsics=camera, pose=POSE)
        assert (kept.name, kept.intrinsics, kept.pose) == ("door", camera, tuple(tuple(row) for row in POSE))
        found = client.localize(query, reference_ids=[kept.id])
        assert found.localized
        assert found.pose is not None
        assert found.pose.frame.kind == "world"
        assert found.pose.convention["transform"] == "camera_to_frame"
        assert len(found.pose.matrix) == len(found.pose.matrix[0]) == 4
        assert found.confidence is not None
        assert found.timing_ms.total > 0
        second = client.create_reference(("b.jpg", photo_that("")))
        assert [each.id for each in client.references(page_size=1)] == [second.id, kept.id]
        client.delete_reference(second.id)
        client.delete_reference(second.id)
        with pytest.raises(NotFound):
            client.reference(second.id)

        facts = [{"name": "with it", "pose": POSE}]
        sent = client.localize(query, references=[('r "1".jpg', photo_that(""))], facts=facts, intrinsics=camera)
        assert sent.localized
        lost = client.localize(("q.jpg", photo_that("do-lost")), reference_ids=[kept.id])
        assert (lost.localized, lost.pose) == (False, None)
        assert lost.reason

        job = client.submit(client.upload(good_photos(2)).id)
        localising.api.finish(job.id, FILES)
        made = client.wait_map(client.create_map(job.id, name="hall").id, timeout_s=30)
        assert (made.status, made.name, made.photos) == ("ready", "hall", 2)
        inside = client.localize(query, map_ids=[made.id], prior={"pose": POSE, "radius": 2.0})
        assert inside.pose is not None
        assert inside.pose.frame.id == made.id
        assert [each.id for each in client.maps()] == [made.id]
        client.delete_map(made.id)
        with pytest.raises(NotFound):
            client.map(made.id)
        with pytest.raises(InvalidRequest) as wrong:
            client.localize(query)
        assert wrong.value.code


def test_the_asynchronous_client_localises_too(localising: Localising) -> None:
    localising.start_worker()

    async def ask() -> Any:
        async with AsyncClient(localising.api.url, retry=QUICK) as client:
            kept = await client.create_reference(("a.jpg", photo_that("")))
            listed = [each.id async for each in client.references()]
            answers = await asyncio.gather(
                *(client.localize(("q.jpg", photo_that("")), reference_ids=[kept.id]) for _ in range(3))
            )
            return kept, listed, answers

    kept, listed, answers = asyncio.run(ask())
    assert listed == [kept.id]
    assert all(answer.localized for answer in answers)


def test_without_a_worker_a_query_is_not_waited_for(localising: Localising) -> None:
    with Client(localising.api.url, retry=QUICK) as client, pytest.raises(Unavailable) as caught:
        client.localize(("q.jpg", photo_that("")), references=[("r.jpg", photo_that(""))], deadline_ms=500)
    assert caught.value.retry_after
