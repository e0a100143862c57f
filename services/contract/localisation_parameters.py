"""What a raw photograph's URL says of it, instead of a JSON part beside it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.contract.jobs import Model


class CameraParameters(Model):
    """A pinhole camera, in pixels of the upright photograph; `fx, fy, cx, cy` come together."""

    fx: float | None = None
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None
    width: int | None = None
    height: int | None = None

    def intrinsics(self) -> dict[str, Any] | None:
        """The camera as JSON would say it; None when there is none."""
        names = ("fx", "fy", "cx", "cy", "width", "height")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return given or None


class ReferenceParameters(CameraParameters):
    """Of `POST /v1/references`."""

    name: str | None = None

    def document(self) -> dict[str, Any]:
        """The same as a `reference` part."""
        return _given(name=self.name, intrinsics=self.intrinsics())


class MapQueryParameters(CameraParameters):
    """Of `POST /v1/maps/{map_id}/localize`; `x, y, z, radius` are a prior."""

    deadline_ms: int | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    radius: float | None = None

    def document(self) -> dict[str, Any]:
        """The same as a `query` part."""
        place = [self.x, self.y, self.z]
        prior = None
        if any(value is not None for value in (*place, self.radius)):
            prior = _given(position=place, radius=self.radius)
        return _given(deadline_ms=self.deadline_ms, intrinsics=self.intrinsics(), prior=prior)


class LocalizeParameters(MapQueryParameters):
    """Of `POST /v1/localize`."""

    reference_ids: list[str] = Field(default_factory=list)
    map_ids: list[str] = Field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The same as a `query` part."""
        ids = _given(reference_ids=self.reference_ids or None, map_ids=self.map_ids or None)
        return {**super().document(), **ids}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
