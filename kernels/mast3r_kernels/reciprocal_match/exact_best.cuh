// Second half of the search on NVIDIA GPUs: rank by the rule of reference.py every member of the groups that can hold the
// nearest.
#pragma once

#include <limits.h>

#include "group_tops.cuh"

namespace reciprocal {
namespace {

// Twice the bound of group_tops.cuh: so far below the greatest approximate score the nearest can lie.
__device__ inline double margin(double query_length, double longest) {
  return 2.0 * (0x1p-15 * query_length * longest + 0x1p-21 * (query_length + longest));
}

// The score: float64, summed from the first component to the last; each product is exact, so fused or not is the same.
__device__ inline double score(const float *a, const float *b, int D) {
  double sum = 0.0;
  for (int d = 0; d < D; ++d) sum = fma((double)a[d], (double)b[d], sum);
  return sum;
}

struct Best {
  double score;
  int index;
  __device__ void take(double other, int at) {
    if (other > score || (other == score && at < index)) score = other, index = at;
  }
};

// A warp a query. Grid: blocks of WARPS queries, 1, pairs.
__global__ void __launch_bounds__(THREADS)
    exact_best(Set queries, Set database, Wanted wanted, const float *tops, int rows_of_tops, int D) {
  const int p = blockIdx.z, lane = threadIdx.x % 32, i = blockIdx.x * WARPS + threadIdx.x / 32;
  if (i >= rows_of_tops || wanted.first + i >= wanted.count[p]) return; // the whole warp
  const int groups = database.padded / GROUP;
  const int64_t query = (int64_t)p * queries.rows + wanted.list[(int64_t)p * wanted.capacity + wanted.first + i];
  const float *const row = tops + ((int64_t)p * rows_of_tops + i) * groups;
  float top = -INFINITY;
  for (int g = lane; g < groups; g += 32) top = fmaxf(top, row[g]);
  for (int reach = 16; reach; reach /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, reach));
  const double threshold = (double)top - margin(queries.length[query], database.longest[p]);
  Best best = {-INFINITY, INT_MAX};
  for (int g0 = 0; g0 < groups; g0 += 32) {
    const bool open = g0 + lane < groups && (double)row[g0 + lane] >= threshold;
    for (unsigned votes = __ballot_sync(0xffffffffu, open); votes; votes &= votes - 1)
      for (int k = lane; k < GROUP; k += 32) {
        const int member = (g0 + __ffs(votes) - 1) * GROUP + k;
        if (member >= database.rows) continue;
        const float *const of_member = database.exact + ((int64_t)p * database.rows + member) * D;
        best.take(score(queries.exact + query * D, of_member, D), member);
      }
  }
  for (int reach = 16; reach; reach /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, best.score, reach);
    best.take(other, __shfl_xor_sync(0xffffffffu, best.index, reach));
  }
  if (lane == 0) queries.known[query] = best.index;
}

} // namespace
} // namespace reciprocal
