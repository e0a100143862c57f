"""The op in plain torch: it defines what is right and runs where nothing is compiled.

The rule of arithmetic. The score of descriptors a and b is the float64 number ((a0*b0 + a1*b1) + a2*b2) + ..., summed from the
first component to the last. Products of two float32 numbers are exact in float64, so that only the order of the sum matters
and a fused multiply-add changes nothing. The greatest score wins; of equal scores, the lowest index. The answer therefore depends
neither on blocks nor on threads nor on the processor.

A float32 product finds the few candidates whose score can be the greatest, within a proven rounding bound; the rule ranks those.
Memory stays bounded: no more than one block of similarities exists at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUERY_ROWS = 512
DATABASE_ROWS = 4096
GROUP = 64  # similarities whose greatest is looked at first
CANDIDATES = 65536  # ranked at a time
SMALLEST_NORMAL = 2.0**-126  # float32 products below it may be flushed to zero


class ReferenceSearch:
    """Nearest neighbours between two sets; what was searched once is remembered."""

    def __init__(
        self,
        a: Tensor,  # (N, D) float32, finite
        b: Tensor,  # (M, D) float32, finite
    ) -> None:
        self._sets = (a, b)
        self._known = (torch.full((len(a),), -1, device=a.device), torch.full((len(b),), -1, device=b.device))

    def nearest(
        self,
        indices: Tensor,  # (n,) int64 into the set searched from
        from_b: bool,
    ) -> Tensor:  # (n,) int64 into the other set
        """Nearest in b of members of a, or with `from_b` the other way round."""
        queries, database = self._sets[::-1] if from_b else self._sets
        known = self._known[from_b]
        unknown = torch.unique(indices[known[indices] < 0])
        if len(unknown):
            known[unknown] = nearest_reference(queries[unknown], database)
        return known[indices]

    def walk(
        self,
        starts: Tensor,  # (n,) int64 into the set walked from, distinct
        from_b: bool,
        max_iterations: int,
    ) -> tuple[Tensor, Tensor]:  # (m,), (m,) int64 into the set walked from and the other one
        """Walk from each start to the nearest and back until a pair is mutual; walks that do not end are dropped."""
        at, previous = starts, torch.full_like(starts, -1)
        ends: list[tuple[Tensor, Tensor]] = [(starts[:0], starts[:0])]
        for _ in range(max_iterations):
            if not len(at):
                break
            there = self.nearest(at, from_b)
            ended = there == previous
            ends.append((at[ended], there[ended]))
            at, there = at[~ended], there[~ended]
            back = self.nearest(there, not from_b)
            ended = back == at
            ends.append((back[ended], there[ended]))
            at, previous = back[~ended], there[~ended]
        return torch.cat([end for end, _ in ends]), torch.cat([end for _, end in ends])


def nearest_reference(
    queries: Tensor,  # (n, D) float32, finite
    database: Tensor,  # (M, D) float32, finite, M > 0
) -> Tensor:  # (n,) int64
    """Index of the database row with the greatest score, for each query."""
    longest = database.double().square().sum(1).max().sqrt()
    margin = 2 * rounding_bound(queries.double().square().sum(1).sqrt(), longest, queries.shape[1])
    found = [
        _nearest_of_block(queries[k : k + QUERY_ROWS], database, margin[k : k + QUERY_ROWS])
        for k in range(0, len(queries), QUERY_ROWS)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=queries.device)


def rounding_bound(
    query_lengths: Tensor,  # (n,) float64
    longest: Tensor,  # () float64, greatest length in the database
    D: int,
) -> Tensor:  # (n,) float64
    """How far a float32 inner product, summed in any order, can be from the score.

    Higham, Accuracy and Stability of Numerical Algorithms, 3.1: |error| <= gamma_D |a|.|b|; the last bit of slack covers the
    float64 sum and the rounding of the bound itself, the second term covers underflow.
    """
    unit = 2.0**-24
    gamma = (D + 2) * unit / (1 - (D + 2) * unit)
    return gamma * query_lengths * longest + D * SMALLEST_NORMAL * (1 + query_lengths) * (1 + longest)


def _nearest_of_block(
    queries: Tensor,  # (n, D)
    database: Tensor,  # (M, D)
    margin: Tensor,  # (n,) float64
) -> Tensor:  # (n,) int64
    product_type = _product_type()
    top = torch.full((len(queries),), -torch.inf, dtype=torch.float64, device=queries.device)
    score = top.clone()
    index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for k in range(0, len(database), DATABASE_ROWS):
        block = database[k : k + DATABASE_ROWS]
        similarity = queries.to(product_type) @ block.to(product_type).T
        grouped = similarity.view(len(queries), -1, GROUP if len(block) % GROUP == 0 else len(block))
        tops = grouped.amax(2)
        top = torch.maximum(top, tops.amax(1).double())
        # Rounded down, the float32 threshold keeps whatever the float64 one keeps.
        threshold = torch.nextafter((top - margin).to(product_type), torch.full_like(top, -torch.inf, dtype=product_type))
        rows, columns = _candidates(grouped, tops, threshold)
        for part in range(0, len(rows), CANDIDATES):
            r, c = rows[part : part + CANDIDATES], columns[part : part + CANDIDATES]
            _keep_best(score, index, r, c + k, score_pairs(queries[r], block[c]))
    return index


def _candidates(
    grouped: Tensor,  # (n, G, g) similarities
    tops: Tensor,  # (n, G) their greatest in each group
    threshold: Tensor,  # (n,)
) -> tuple[Tensor, Tensor]:  # (k,), (k,) row and column, G * g to a row, of what reaches the threshold, in order
    """Look into those groups alone whose greatest similarity reaches the threshold."""
    rows, groups = torch.nonzero(tops >= threshold[:, None], as_tuple=True)
    which, places = torch.nonzero(grouped[rows, groups] >= threshold[rows, None], as_tuple=True)
    return rows[which], groups[which] * grouped.shape[2] + places


def _product_type() -> torch.dtype:
    """float32, unless the process allows products of less precision (TF32, bfloat16): then the bound above would not hold."""
    return torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64


def score_pairs(
    a: Tensor,  # (k, D) float32
    b: Tensor,  # (k, D) float32
) -> Tensor:  # (k,) float64
    """The score of each row of `a` with the same row of `b`: the rule itself."""
    wide_a, wide_b = a.double(), b.double()
    score = torch.zeros(len(a), dtype=torch.float64, device=a.device)
    for d in range(a.shape[1]):
        score = score + wide_a[:, d] * wide_b[:, d]
    return score


def _keep_best(
    score: Tensor,  # (n,) float64, best so far; changed
    index: Tensor,  # (n,) int64, of the best so far; changed
    rows: Tensor,  # (k,) int64 into the above, ascending
    columns: Tensor,  # (k,) int64, all above what `index` holds or, in one row, ascending
    scores: Tensor,  # (k,) float64
) -> None:
    best = torch.full_like(score, -torch.inf).scatter_reduce(0, rows, scores, "amax")
    lowest = torch.full_like(index, torch.iinfo(torch.int64).max)
    first = scores == best[rows]
    lowest = lowest.scatter_reduce(0, rows[first], columns[first], "amin")
    better = best > score  # on equal scores the earlier, lower index stays
    score[better] = best[better]
    index[better] = lowest[better]
