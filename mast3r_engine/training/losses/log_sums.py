"""Log sums over rows and columns of a similarity matrix that is never held whole.

Blocks of rows are computed, summed and thrown away; the backward pass computes them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def log_sums(
    first: Tensor,  # (B, N, D)
    second: Tensor,  # (B, M, D)
    temperature: float,
    block: int,  # rows at once; memory is B * block * M
) -> tuple[Tensor, Tensor]:  # ln sum_i exp S_ij (B, M), ln sum_j exp S_ij (B, N)
    """Of S = first second^T / temperature; differentiable once in both."""
    over_first, over_second = _LogSums.apply(first, second, temperature, block)  # type: ignore[no-untyped-call]
    return over_first, over_second


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, temperature: float, block: int) -> tuple[Tensor, Tensor]:
        columns, rows = None, []
        for part in torch.split(first, block, dim=1):
            similarity = part @ second.transpose(1, 2) / temperature
            rows.append(similarity.logsumexp(2))
            sums = similarity.logsumexp(1)
            columns = sums if columns is None else torch.logaddexp(columns, sums)
        assert columns is not None
        over_second = torch.cat(rows, 1)
        ctx.save_for_backward(first, second, columns, over_second)
        ctx.temperature, ctx.block = temperature, block
        return columns, over_second

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        first, second, columns, rows = ctx.saved_tensors
        of_columns, of_rows = gradients
        first_parts, second_gradient = [], torch.zeros_like(second)
        for start in range(0, first.shape[1], ctx.block):
            part = slice(start, start + ctx.block)
            similarity = first[:, part] @ second.transpose(1, 2) / ctx.temperature
            of_similarity = (similarity - rows[:, part, None]).exp() * of_rows[:, part, None]
            of_similarity += (similarity - columns[:, None]).exp() * of_columns[:, None]
            of_similarity /= ctx.temperature
            first_parts.append(of_similarity @ second)
            second_gradient += of_similarity.transpose(1, 2) @ first[:, part]
        return torch.cat(first_parts, 1), second_gradient, None, None
