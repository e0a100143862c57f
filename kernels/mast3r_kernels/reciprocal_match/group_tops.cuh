// First half of the search on NVIDIA GPUs: how great can the score be, in each group of GROUP members of the database?
//
// Descriptors are split into two half-precision numbers, x = hi + lo + e, after a scaling by a power of two that brings the
// greatest component of the set to at most 1; then |e| <= max(2^-22 |x|, 2^-25). The tensor cores sum hi hi + hi lo + lo hi in
// float32. With at most 32 components the result is off by no more than
//
//     2^-15 |a||b|  +  2^-21 (|a| + |b|)
//
// (six products of matrices, each of which adds 17 numbers and may lose all bits below the 22nd of the greatest; the dropped lo
// lo and e are below 2^-20 |a||b| and the second term). exact_best.cuh ranks by the rule of reference.py whatever this leaves
// open.
#pragma once

#include <cuda_fp16.h>
#include <mma.h>
#include <stdint.h>

#include "../cuda_launch.cuh"

namespace reciprocal {
namespace {

constexpr int COMPONENTS = 32;    // of a row, zeros after the descriptor's own
constexpr int GROUP = 64;         // members of the database
constexpr int GROUPS_AT_ONCE = 8; // written together: one sector of memory
constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int TILE = 16; // side of the tensor cores' matrices
constexpr int ROWS_OF_WARP = 2 * TILE;
constexpr int QUERIES = ROWS_OF_WARP * WARPS; // of a block, one a thread
constexpr int STRIDE = COMPONENTS + 8;        // of rows in shared memory, so that they spread over its banks
constexpr int TOPS_STRIDE = TILE + 4;
constexpr int PIECES = COMPONENTS * sizeof(half) / sizeof(int4); // of a row

// One of the two sets of P pairs of images.
struct Set {
  const half *hi, *lo;   // (P, padded, COMPONENTS); rows after the last repeat it
  const float *exact;    // (P, rows, D)
  const double *length;  // (P, rows) after the scaling
  const double *longest; // (P,)
  int *known;            // (P, rows) nearest in the other set, or UNKNOWN, or CLAIMED
  int rows, padded;
};

// Which members of the queries' set are to be searched: the first count[p] of list[p].
struct Wanted {
  const int *list;     // (P, capacity)
  const int *count;    // (P,)
  int capacity, first; // this launch begins at `first`
};

typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, TILE, TILE, TILE, half, nvcuda::wmma::row_major> Rows;
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, TILE, TILE, TILE, half, nvcuda::wmma::col_major> Columns;
typedef nvcuda::wmma::fragment<nvcuda::wmma::accumulator, TILE, TILE, TILE, float> Sums;

// What a thread carries from global to shared memory: half a row of the group, of hi and of lo.
struct Carried {
  int4 hi[PIECES / 2], lo[PIECES / 2];
};

__device__ inline Carried fetch_group(const Set &database, int64_t first_row) {
  const int64_t piece = (first_row + threadIdx.x / 2) * PIECES + threadIdx.x % 2 * (PIECES / 2);
  Carried carried;
  for (int k = 0; k < PIECES / 2; ++k) {
    carried.hi[k] = ((const int4 *)database.hi)[piece + k];
    carried.lo[k] = ((const int4 *)database.lo)[piece + k];
  }
  return carried;
}

__device__ inline void put_group(const Carried &carried, half *hi, half *lo) {
  const int place = threadIdx.x / 2 * STRIDE + threadIdx.x % 2 * (COMPONENTS / 2);
  for (int k = 0; k < PIECES / 2; ++k) {
    ((int4 *)(hi + place))[k] = carried.hi[k];
    ((int4 *)(lo + place))[k] = carried.lo[k];
  }
}

// tops (P, capacity of a launch, groups): of query i and group g, the greatest approximate score.
// Grid: blocks of QUERIES, segments of the groups, pairs.
__global__ void __launch_bounds__(THREADS)
    group_tops(Set queries, Set database, Wanted wanted, float *tops, int rows_of_tops, int groups_of_segment) {
  using namespace nvcuda;
  __shared__ int4 shared[2 * 2 * GROUP * STRIDE * sizeof(half) / sizeof(int4)]; // two groups; before them, all queries
  __shared__ float of_warp[WARPS][ROWS_OF_WARP * TOPS_STRIDE];
  __shared__ float gathered[QUERIES][GROUPS_AT_ONCE + 1];
  static_assert(QUERIES == 2 * GROUP, "the queries take the place of two groups");
  half *const tile = (half *)shared;
  const int p = blockIdx.z, count = wanted.count[p] - wanted.first, base = blockIdx.x * QUERIES;
  if (base >= count || base >= rows_of_tops) return;
  const int warp = threadIdx.x / 32, query = base + threadIdx.x;
  const int listed = wanted.list[(int64_t)p * wanted.capacity + wanted.first + (query < count ? query : count - 1)];
  const int64_t row = ((int64_t)p * queries.padded + listed) * PIECES;
  for (int k = 0; k < PIECES; ++k) {
    ((int4 *)(tile + threadIdx.x * STRIDE))[k] = ((const int4 *)queries.hi)[row + k];
    ((int4 *)(tile + (QUERIES + threadIdx.x) * STRIDE))[k] = ((const int4 *)queries.lo)[row + k];
  }
  __syncthreads();
  Rows a_hi[2][2], a_lo[2][2]; // [tile of rows][half of the components]
  for (int r = 0; r < 2; ++r)
    for (int k = 0; k < 2; ++k) {
      const half *from = tile + (warp * ROWS_OF_WARP + r * TILE) * STRIDE + k * TILE;
      wmma::load_matrix_sync(a_hi[r][k], from, STRIDE);
      wmma::load_matrix_sync(a_lo[r][k], from + QUERIES * STRIDE, STRIDE);
    }
  __syncthreads();

  const int groups = database.padded / GROUP, first = blockIdx.y * groups_of_segment;
  const int last = first + groups_of_segment < groups ? first + groups_of_segment : groups;
  const int64_t database_row = (int64_t)p * database.padded;
  float *const out = tops + ((int64_t)p * rows_of_tops + query) * groups;
  Carried carried = fetch_group(database, database_row + (int64_t)first * GROUP);
  for (int g = first; g < last; ++g) {
    half *const hi = tile + (g & 1) * 2 * GROUP * STRIDE, *const lo = hi + GROUP * STRIDE;
    put_group(carried, hi, lo); // the group before the last lay here; all have left it at the barrier since
    __syncthreads();
    if (g + 1 < last) carried = fetch_group(database, database_row + (int64_t)(g + 1) * GROUP);
    Sums best[2];
    for (int r = 0; r < 2; ++r) wmma::fill_fragment(best[r], -INFINITY);
    for (int c = 0; c < GROUP / TILE; ++c) {
      Columns b_hi[2], b_lo[2];
      for (int k = 0; k < 2; ++k) {
        wmma::load_matrix_sync(b_hi[k], hi + c * TILE * STRIDE + k * TILE, STRIDE);
        wmma::load_matrix_sync(b_lo[k], lo + c * TILE * STRIDE + k * TILE, STRIDE);
      }
      for (int r = 0; r < 2; ++r) {
        Sums sums;
        wmma::fill_fragment(sums, 0.0f);
        for (int k = 0; k < 2; ++k) {
          wmma::mma_sync(sums, a_lo[r][k], b_hi[k], sums);
          wmma::mma_sync(sums, a_hi[r][k], b_lo[k], sums);
          wmma::mma_sync(sums, a_hi[r][k], b_hi[k], sums);
        }
        // Which element is which is unknown, but the same in all fragments of one shape.
        for (int e = 0; e < Sums::num_elements; ++e) best[r].x[e] = fmaxf(best[r].x[e], sums.x[e]);
      }
    }
    for (int r = 0; r < 2; ++r)
      wmma::store_matrix_sync(of_warp[warp] + r * TILE * TOPS_STRIDE, best[r], TOPS_STRIDE, wmma::mem_row_major);
    __syncwarp();
    float top = -INFINITY; // of this thread's own query
    for (int k = 0; k < TILE; ++k) top = fmaxf(top, of_warp[warp][threadIdx.x % 32 * TOPS_STRIDE + k]);
    gathered[threadIdx.x][g % GROUPS_AT_ONCE] = top;
    if ((g + 1) % GROUPS_AT_ONCE == 0 && query < count && query < rows_of_tops)
      for (int k = 0; k < GROUPS_AT_ONCE; ++k) out[g + 1 - GROUPS_AT_ONCE + k] = gathered[threadIdx.x][k];
  }
}

} // namespace
} // namespace reciprocal
