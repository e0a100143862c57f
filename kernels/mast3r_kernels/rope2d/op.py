"""The public function of the op: checks its arguments and runs the implementation at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_kernels import cuda
from mast3r_kernels.native import KernelUnavailableError
from mast3r_kernels.rope2d import cuda as cuda_op
from mast3r_kernels.rope2d.compiled import fits, rope2d_compiled, usable_paths
from mast3r_kernels.rope2d.reference import rope2d_reference


def rope2d(
    x: Tensor,  # (..., S, C) queries or keys of S tokens, any strides, C a multiple of 4
    cos: Tensor,  # (S, C/2) float32, cosines of the angles: C/4 of the row, then C/4 of the column
    sin: Tensor,  # (S, C/2) float32, sines of the same angles
    *,
    overwrite: bool = False,
    implementation: str = "auto",
    threads: int | None = None,
) -> Tensor:  # (..., S, C) in x's dtype; a new tensor, or x itself
    """Rotate each token's vector by its row and column.

    The first half of a vector belongs to the row (y), the second to the column (x); inside a half, component i is rotated
    with component i + C/4 by angle i. Computed in float32 whatever the dtype of `x`, and rounded once at the end.
    Differentiable in `x`. ValueError on shapes or dtypes that do not fit.

    `overwrite`: x is needed no more, so the compiled op may rotate it in place; what is returned is the result either way.
    `implementation`: "auto" takes the compiled op with `overwrite`, where it is built for it and autograd records nothing,
    else the reference; "reference", "cuda", or the name of one of the compiled op's paths, takes that. All give the same bits.
    `threads`: torch's number by default. KernelUnavailableError when a path is asked for that cannot be had.
    """
    _check(x, cos, sin)
    if implementation == "reference" or (implementation == "auto" and not (overwrite and _is_usable(x))):
        return rope2d_reference(x, cos, sin)
    if implementation == "cuda" or (implementation == "auto" and cuda_op.fits(x)):
        return _rotate_on_cuda(x, cos, sin, overwrite)
    if implementation != "auto" and (_is_recorded(x) or not fits(x)):
        raise KernelUnavailableError(
            f"rope2d: {implementation} was asked for; it takes float32 or bfloat16 on the CPU with unit last stride and without"
            f" autograd, and this is {x.dtype} on {x.device} with strides {x.stride()}"
        )
    rotated = x if overwrite else x.clone()
    rope2d_compiled(rotated, cos, sin, "" if implementation == "auto" else implementation, threads or torch.get_num_threads())
    return rotated


def _rotate_on_cuda(x: Tensor, cos: Tensor, sin: Tensor, overwrite: bool) -> Tensor:
    if _is_recorded(x) or not cuda_op.fits(x):
        raise KernelUnavailableError(
            f"rope2d: cuda was asked for; it takes float32 or bfloat16 on a GPU, unit last stride, at most {cuda_op.MOST_OUTER}"
            f" dimensions before the tokens' and no autograd, and this is {x.dtype} on {x.device} with strides {x.stride()}"
        )
    library = cuda.load(cuda.ROPE2D)
    rotated = x if overwrite else x.clone()
    cuda_op.rope2d_cuda(rotated, cos, sin, library)
    return rotated


def _is_usable(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or _is_recorded(x):
        return False
    if cuda_op.fits(x):
        return cuda.is_built(cuda.ROPE2D)
    if not fits(x):
        return False
    try:
        return bool(usable_paths())
    except KernelUnavailableError:
        return False


def _is_recorded(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _check(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    if x.ndim < 2 or x.shape[-1] % 4:
        raise ValueError(f"rope2d: x has shape {tuple(x.shape)}; it must be (..., S, C) with C a multiple of 4")
    right = (x.shape[-2], x.shape[-1] // 2)
    if tuple(cos.shape) != right or tuple(sin.shape) != right:
        raise ValueError(f"rope2d: cos and sin have shapes {tuple(cos.shape)} and {tuple(sin.shape)}; both must be {right}")
    if cos.dtype != torch.float32 or sin.dtype != torch.float32:
        raise ValueError(f"rope2d: cos and sin are {cos.dtype} and {sin.dtype}; both must be torch.float32")
