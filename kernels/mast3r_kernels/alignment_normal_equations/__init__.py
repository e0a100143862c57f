"""Residuals, Jacobians and reduced normal equations of the alignment's reprojection stage, in one pass over flat arrays."""

from mast3r_kernels.alignment_normal_equations.arrays import DirectedMatches, PairBlocks, RelativeCameras
from mast3r_kernels.alignment_normal_equations.op import alignment_normal_equations

__all__ = ["DirectedMatches", "PairBlocks", "RelativeCameras", "alignment_normal_equations"]
