"""What `localize` answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.camera import Intrinsics
from mast3r_engine.localisation.rigid_motion import adjoint, invert
from mast3r_engine.localisation.trust import Reason

Floats = NDArray[np.float64]

ScaleSource = Literal[
    "metric_point_maps",  # the network predicts metres
    "reference_baselines",  # it does not; the known poses of several references say how far they are from each other
    "network_units",  # the network is not metric: lengths have no unit
]


@dataclass(frozen=True)
class ReferenceResult:
    """How the query stands to one of the references, before references are put together."""

    name: str
    localized: bool
    reason: Reason | None
    detail: str
    query2reference: Floats  # (4, 4) NaN when there is no estimate
    covariance: Floats  # (6, 6)
    matches: int
    inliers: int
    reprojection_px: float
    parallax_degrees: float
    method: str  # the candidate that the pose grew from
    intrinsics: Intrinsics  # the reference's


@dataclass(frozen=True)
class Localization:
    """The pose of a query photograph; OpenCV axes, metres unless `scale_source` is "network_units".

    `covariance` is that of x in T_true = E(x) T_estimated for T = query2reference: x is translation, then rotation vector, in the
    reference's frame; E has the rotation of the vector and that translation. `position_covariance` is what most users want.
    When `localized` is false, pose and covariance are the best guess, kept for inspection, or NaN when there is none.
    """

    localized: bool
    reason: Reason | None  # why not
    detail: str  # the same with its numbers and the remedy; empty when localized
    reference_index: int  # the reference in whose frame the pose is given
    query2reference: Floats  # (4, 4)
    covariance: Floats  # (6, 6)
    cam2world: Floats | None  # (4, 4) in the frame of `reference_poses`; None without them
    world_covariance: Floats | None  # (6, 6) of cam2world, left perturbation in the world's frame
    inliers: int
    inlier_ratio: float
    reprojection_px: float  # original pixels of the query, root mean square over the inliers
    parallax_degrees: float
    scale_source: ScaleSource
    query_intrinsics: Intrinsics
    fused: tuple[int, ...]  # indices of the references that the pose rests on
    references: tuple[ReferenceResult, ...]
    seconds: dict[str, float] = field(default_factory=dict)  # per stage

    @property
    def position(self) -> Floats:  # (3,)
        """The query's camera centre in the reference's frame."""
        return self.query2reference[:3, 3]

    @property
    def position_covariance(self) -> Floats:  # (3, 3)
        """Covariance of `position`."""
        from_left = np.concatenate([np.eye(3), -_skew(self.position)], axis=1)
        covariance: Floats = from_left @ self.covariance @ from_left.T
        return covariance

    @property
    def reference2query(self) -> Floats:  # (4, 4)
        """The inverse pose."""
        return invert(self.query2reference)

    @property
    def body_covariance(self) -> Floats:  # (6, 6)
        """The same uncertainty as a right perturbation: in the query camera's own axes, as pose graphs often take it."""
        carry = adjoint(self.reference2query)
        covariance: Floats = carry @ self.covariance @ carry.T
        return covariance


def _skew(v: Floats) -> Floats:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
