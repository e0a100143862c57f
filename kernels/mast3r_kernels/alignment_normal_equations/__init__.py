"""Residuals, Jacobians and reduced normal equations of the alignment's reprojection stage, in one pass over flat arrays."""

from mast3r_kernels.alignment_normal_equations.arrays import (
    CAMERA_COLUMNS,
    PRINCIPAL_COLUMNS,
    DirectedMatches,
    PairBlocks,
    RelativeCameras,
)
from mast3r_kernels.alignment_normal_equations.op import alignment_normal_equations

__all__ = [
    "CAMERA_COLUMNS",
    "PRINCIPAL_COLUMNS",
    "DirectedMatches",
    "PairBlocks",
    "RelativeCameras",
    "alignment_normal_equations",
]
