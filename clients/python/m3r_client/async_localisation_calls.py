"""References, maps and poses: what the asynchronous client can do beside reconstructions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from m3r_client import localising as calls
from m3r_client.localisation_answers import CameraIntrinsics, Localisation, LocalisationMap, Reference
from m3r_client.photos import PhotoLike, as_photo
from m3r_client.retrying import RetryPolicy
from m3r_client.run_async import AsyncRunner


class AsyncLocalisationCalls:
    """Calls of the asynchronous client that localise photographs."""

    _policy: RetryPolicy
    _runner: AsyncRunner

    async def localize(
        self,
        photo: PhotoLike,
        *,
        references: Sequence[PhotoLike] = (),
        facts: Sequence[Mapping[str, Any]] = (),
        reference_ids: Sequence[str] = (),
        map_ids: Sequence[str] = (),
        intrinsics: CameraIntrinsics | None = None,
        prior: Mapping[str, Any] | None = None,
        deadline_ms: int | None = None,
    ) -> Localisation:
        """Find where a photograph was taken, against references or in maps.

        That there is no pose that can be trusted is an answer (`localized` false, with a `reason`), not an error.

        It is asked again for two seconds at most; Unavailable says that the deadline cannot be met.

        Args:
            references: photographs that go with the query.
            facts: what is known of them, in their order: name, intrinsics, pose.
            prior: where the photograph was perhaps taken: `position` or `pose`, `radius`, `map_id`.
            deadline_ms: refused at once if it cannot be met.
        """
        sent = [as_photo(each) for each in references]
        query = calls.Query(intrinsics, prior, deadline_ms, reference_ids, map_ids, sent, facts)
        return await self._runner.run(calls.localize(self._policy, as_photo(photo), query))

    async def create_reference(
        self,
        photo: PhotoLike,
        *,
        name: str | None = None,
        intrinsics: CameraIntrinsics | None = None,
        pose: Sequence[Sequence[float]] | None = None,
    ) -> Reference:
        """Keep a photograph to localise against; `pose` (4, 4) camera to world.

        Raises ConnectionLost also where it may have been kept: look (`references`) before you send it again.
        """
        return await self._runner.run(calls.create_reference(self._policy, as_photo(photo), name, intrinsics, pose))

    async def reference(self, reference_id: str) -> Reference:
        """A reference, and whether it is encoded."""
        return await self._runner.run(calls.get_reference(self._policy, reference_id))

    def references(self, *, page_size: int = 50) -> AsyncIterator[Reference]:
        """All references, newest first, fetched page by page."""
        return self._runner.iterate(calls.list_references(self._policy, page_size))

    async def delete_reference(self, reference_id: str) -> None:
        """Delete a reference; one that is not there is no error."""
        await self._runner.run(calls.delete_reference(self._policy, reference_id))

    async def create_map(self, job_id: str, *, name: str | None = None) -> LocalisationMap:
        """Freeze the scene of a job that has succeeded; see `create_reference` for ConnectionLost."""
        return await self._runner.run(calls.create_map(self._policy, job_id, name))

    async def wait_map(self, map_id: str, *, timeout_s: float = 600.0) -> LocalisationMap:
        """Wait until a map is ready or failed; raises WaitTimeout."""
        return await self._runner.run(calls.wait_for_map(self._policy, map_id, timeout_s))

    async def map(self, map_id: str) -> LocalisationMap:
        """A map as it is now."""
        return await self._runner.run(calls.get_map(self._policy, map_id))

    def maps(self, *, page_size: int = 50) -> AsyncIterator[LocalisationMap]:
        """All maps, newest first, fetched page by page."""
        return self._runner.iterate(calls.list_maps(self._policy, page_size))

    async def delete_map(self, map_id: str) -> None:
        """Delete a map; one that is not there is no error."""
        await self._runner.run(calls.delete_map(self._policy, map_id))
