// The op on NVIDIA GPUs, for P pairs of images at once. A walk's state stays on the device: no step waits for the host, and what
// was searched once is remembered. In which order the list of open questions is written differs from run to run, the answers
// don't.

#include "exact_best.cuh"

namespace reciprocal {
namespace {

constexpr int UNKNOWN = -1, CLAIMED = -2, OVER = -1;
constexpr int BLOCK = 256;
constexpr int BLOCKS_WANTED = 1056; // eight for each of 132 multiprocessors

struct Walks { // (P, n) each
  int *at, *previous, *there;
  int64_t *here_end, *there_end; // -1: no end yet
  int n;
};

// Ask for the nearest of each walk's place that is not known yet; each is asked for once.
__global__ void collect(const int *places, int n, Set queries, int *list, int *count) {
  const int w = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.z;
  if (w >= n) return;
  const int place = places[(int64_t)p * n + w];
  if (place < 0) return;
  if (atomicCAS(queries.known + (int64_t)p * queries.rows + place, UNKNOWN, CLAIMED) == UNKNOWN)
    list[(int64_t)p * n + atomicAdd(count + p, 1)] = place;
}

// A walk's step there, and its end when it was there before.
__global__ void step_there(Walks walks, Set from) {
  const int w = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.z;
  if (w >= walks.n) return;
  const int64_t k = (int64_t)p * walks.n + w;
  const int at = walks.at[k];
  const int there = at < 0 ? OVER : from.known[(int64_t)p * from.rows + at];
  walks.there[k] = there;
  if (at < 0 || there != walks.previous[k]) return;
  walks.here_end[k] = at, walks.there_end[k] = there;
  walks.at[k] = walks.there[k] = OVER;
}

// A walk's step back, and its end when that is where it came from.
__global__ void step_back(Walks walks, Set to) {
  const int w = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.z;
  if (w >= walks.n) return;
  const int64_t k = (int64_t)p * walks.n + w;
  const int there = walks.there[k];
  if (there < 0) return;
  const int back = to.known[(int64_t)p * to.rows + there];
  if (back == walks.at[k]) {
    walks.here_end[k] = back, walks.there_end[k] = there;
    walks.at[k] = OVER;
  } else {
    walks.at[k] = back, walks.previous[k] = there;
  }
}

// Find the nearest of all that is listed; the answers go to queries.known.
cudaError_t search(const Set &queries, const Set &database, const int *list, const int *count, int capacity, int most, int pairs,
                   int D, float *tops, int rows_of_tops, void *stream) {
  for (int first = 0; first < most; first += rows_of_tops) {
    const Wanted wanted = {list, count, capacity, first};
    const int rows = most - first < rows_of_tops ? most - first : rows_of_tops;
    const int blocks = (rows + QUERIES - 1) / QUERIES, eights = database.padded / GROUP / GROUPS_AT_ONCE;
    int segments = (BLOCKS_WANTED + blocks * pairs - 1) / (blocks * pairs);
    if (segments > eights) segments = eights;
    const int groups_of_segment = (eights + segments - 1) / segments * GROUPS_AT_ONCE;
    RETURN_IF_FAILED(mast3r_kernels::launch(group_tops, dim3(blocks, segments, pairs), THREADS, stream, queries, database, wanted,
                                            tops, rows_of_tops, groups_of_segment));
    RETURN_IF_FAILED(mast3r_kernels::launch(exact_best, dim3((rows + WARPS - 1) / WARPS, 1, pairs), THREADS, stream, queries,
                                            database, wanted, (const float *)tops, rows_of_tops, D));
  }
  return cudaSuccess;
}

} // namespace
} // namespace reciprocal

using namespace reciprocal;

PUBLIC const char *reciprocal_match_cuda_error(int32_t error) { return cudaGetErrorString((cudaError_t)error); }

// The nearest of the first count[p] members of list (P, capacity), at most `most`, into queries.known, on `stream` of `device`.
// tops: room for (P, rows_of_tops, database.padded / 64) numbers. A cudaError_t.
PUBLIC int32_t reciprocal_match_cuda_nearest(const Set *queries, const Set *database, const int *list, const int *count,
                                             int32_t capacity, int32_t most, int32_t pairs, int32_t D, float *tops,
                                             int32_t rows_of_tops, int32_t device, void *stream) {
  RETURN_IF_FAILED(cudaSetDevice(device));
  return search(*queries, *database, list, count, capacity, most, pairs, D, tops, rows_of_tops, stream);
}

// Walk from `at` (P, n), changed, between `here` and `there` until a pair is mutual: the ends go to here_end and there_end (P,
// n), which hold -1, as does previous (P, n). list and places (P, n) and count (P) are room to work in. A cudaError_t.
PUBLIC int32_t reciprocal_match_cuda_walk(const Set *here, const Set *there, int *at, int *previous, int *places,
                                          int64_t *here_end, int64_t *there_end, int *list, int *count, int32_t n,
                                          int32_t max_iterations, int32_t pairs, int32_t D, float *tops, int32_t rows_of_tops,
                                          int32_t device, void *stream) {
  RETURN_IF_FAILED(cudaSetDevice(device));
  const Walks walks = {at, previous, places, here_end, there_end, n};
  const dim3 grid((n + BLOCK - 1) / BLOCK, 1, pairs);
  const auto half_way = [&](const Set &from, const Set &to, const int *places_now, auto step) -> cudaError_t {
    RETURN_IF_FAILED(cudaMemsetAsync(count, 0, pairs * sizeof(int), (cudaStream_t)stream));
    RETURN_IF_FAILED(mast3r_kernels::launch(collect, grid, BLOCK, stream, places_now, n, from, list, count));
    RETURN_IF_FAILED(search(from, to, list, count, n, n, pairs, D, tops, rows_of_tops, stream));
    return mast3r_kernels::launch(step, grid, BLOCK, stream, walks, from);
  };
  for (int k = 0; k < max_iterations; ++k) {
    RETURN_IF_FAILED(half_way(*here, *there, at, step_there));
    RETURN_IF_FAILED(half_way(*there, *here, places, step_back));
  }
  return cudaSuccess;
}
