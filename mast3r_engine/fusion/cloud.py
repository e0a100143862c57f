"""A coloured cloud with normals and confidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cloud:
    """P points; each stands in the frame of its own component."""

    points: NDArray[np.float32]  # (P, 3)
    colors: NDArray[np.uint8]  # (P, 3) RGB
    confidence: NDArray[np.float32]  # (P,) network confidence (> 1)
    normals: NDArray[np.float32]  # (P, 3) unit length, towards the camera that saw the point
    component: NDArray[np.int32]  # (P,)
    warnings: list[str] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Cloud:
        """Keep the chosen points; warnings and stats stay behind."""
        return Cloud(
            self.points[chosen], self.colors[chosen], self.confidence[chosen], self.normals[chosen], self.component[chosen]
        )


def join_clouds(clouds: list[Cloud]) -> Cloud:
    """Put clouds behind each other; no cloud at all gives an empty one."""
    clouds = [_empty_cloud(), *clouds]
    return Cloud(
        points=np.concatenate([c.points for c in clouds]),
        colors=np.concatenate([c.colors for c in clouds]),
        confidence=np.concatenate([c.confidence for c in clouds]),
        normals=np.concatenate([c.normals for c in clouds]),
        component=np.concatenate([c.component for c in clouds]),
    )


def _empty_cloud() -> Cloud:
    vectors = np.zeros((0, 3), np.float32)
    return Cloud(vectors, np.zeros((0, 3), np.uint8), np.zeros(0, np.float32), vectors, np.zeros(0, np.int32))
