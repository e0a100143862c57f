"""The public function of the op: checks its arguments and runs the implementation at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_kernels.rope2d.reference import rope2d_reference


def rope2d(
    x: Tensor,  # (..., S, C) queries or keys of S tokens, any strides, C a multiple of 4
    cos: Tensor,  # (S, C/2) float32, cosines of the angles: C/4 of the row, then C/4 of the column
    sin: Tensor,  # (S, C/2) float32, sines of the same angles
) -> Tensor:  # (..., S, C) a new tensor in x's dtype
    """Rotate each token's vector by its row and column.

    The first half of a vector belongs to the row (y), the second to the column (x); inside a half, component i is rotated
    with component i + C/4 by angle i. Computed in float32 whatever the dtype of `x`, and rounded once at the end.
    Differentiable in `x`. ValueError on shapes or dtypes that do not fit.
    """
    _check(x, cos, sin)
    return rope2d_reference(x, cos, sin)


def _check(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    if x.ndim < 2 or x.shape[-1] % 4:
        raise ValueError(f"rope2d: x has shape {tuple(x.shape)}; it must be (..., S, C) with C a multiple of 4")
    right = (x.shape[-2], x.shape[-1] // 2)
    if tuple(cos.shape) != right or tuple(sin.shape) != right:
        raise ValueError(f"rope2d: cos and sin have shapes {tuple(cos.shape)} and {tuple(sin.shape)}; both must be {right}")
    if cos.dtype != torch.float32 or sin.dtype != torch.float32:
        raise ValueError(f"rope2d: cos and sin are {cos.dtype} and {sin.dtype}; both must be torch.float32")
