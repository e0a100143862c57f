// The op on NVIDIA GPUs, in float64. A block takes a chunk of one pair's groups, a thread one group after the other; the matches
// stay on the device from one evaluation to the next. All sums are taken in an order that the matches alone decide, so that the
// answer is the same each time. The formulas are those of reference.py.

#include <stdlib.h>

#include <new>
#include <vector>

#include "../cuda_launch.cuh"
#include "problem.h"

namespace normal_equations {
namespace {

constexpr int THREADS = 128, WARPS = THREADS / 32;
constexpr int64_t CHUNK = 1024; // matches, and what is left of the last group

template <int C> constexpr int SUMS_OF = C * (C + 1) / 2 + C; // upper triangle by rows, then the gradient

// One residual's two rows: C camera columns, the residual, the log-depth; and its robust weight.
template <int C> struct Row {
  double u[C + 2], v[C + 2], weight, error;
};

template <int C> __device__ Row<C> differentiate(const Problem &problem, int64_t p, double depth_of_group, int64_t m) {
  const double *R = problem.rotation + 9 * p, *t = problem.translation + 3 * p;
  const double f = problem.target_focal[p], depth = depth_of_group * problem.offset[m];
  const double along_ray = depth / problem.source_focal[p];
  const double a = (problem.source_xy[m] - problem.source_shift[2 * p]) * along_ray;
  const double b = (problem.source_xy[problem.matches + m] - problem.source_shift[2 * p + 1]) * along_ray;
  const double X = R[0] * a + R[1] * b + (R[2] * depth + t[0]);
  const double Y = R[3] * a + R[4] * b + (R[5] * depth + t[1]);
  const double Z = R[6] * a + R[7] * b + (R[8] * depth + t[2]);
  const bool hidden = NEAREST * depth > Z;
  const double inverse = 1.0 / (hidden ? 1.0 : Z), scale = f * inverse, along = depth * inverse;
  const double u = X * scale, v = Y * scale, uv = u * v / f;
  Row<C> row;
  const auto set = [&](int column, double du, double dv) { row.u[column] = du, row.v[column] = dv; };
  set(C, u + (problem.target_shift[2 * p] - problem.target_xy[m]),
      v + (problem.target_shift[2 * p + 1] - problem.target_xy[problem.matches + m]));
  set(C + 1, (u * t[2] - f * t[0]) * inverse, (v * t[2] - f * t[1]) * inverse);
  set(0, -uv, -f - v * v / f);
  set(1, f + u * u / f, uv);
  set(2, -v, u);
  set(3, scale, 0.0);
  set(4, 0.0, scale);
  set(5, -u * inverse, -v * inverse);
  set(6, along * (f * R[2] - u * R[8]) - row.u[C + 1], along * (f * R[5] - v * R[8]) - row.v[C + 1]);
  set(7, u, v);
  if constexpr (C > 8) {
    const double sideways = -along / problem.source_focal[p];
    set(8, sideways * (f * R[0] - u * R[6]), sideways * (f * R[3] - v * R[6]));
    set(9, sideways * (f * R[1] - u * R[7]), sideways * (f * R[4] - v * R[7]));
    set(10, 1.0, 0.0);
    set(11, 0.0, 1.0);
  }
  const double error = row.u[C] * row.u[C] + row.v[C] * row.v[C], weight = problem.weight[m];
  row.error = hidden ? HIDDEN : error;
  row.weight = hidden ? 0.0 : weight / (1.0 + error * weight / (problem.kernel_width * problem.kernel_width));
  return row;
}

template <int C> __global__ void __launch_bounds__(THREADS) add_chunks(Problem problem, const Chunk *chunks, double *chunk_sums) {
  constexpr int SUMS = SUMS_OF<C>;
  __shared__ double of_warp[WARPS][SUMS];
  const Chunk chunk = chunks[blockIdx.x];
  double sums[SUMS] = {};
  for (int64_t g = chunk.first_group + threadIdx.x; g < chunk.last_group; g += THREADS) {
    double of_group[C + 2] = {}; // coupling, curvature, gradient
    for (int64_t m = problem.group_start[g]; m < problem.group_start[g + 1]; ++m) {
      const Row<C> row = differentiate<C>(problem, chunk.pair, problem.depth[g], m);
      problem.squared_error[m] = row.error;
      int at = 0;
      for (int a = 0; a < C; ++a) {
        const double u = row.u[a] * row.weight, v = row.v[a] * row.weight;
        for (int b = a; b < C; ++b) sums[at++] += u * row.u[b] + v * row.v[b];
        sums[C * (C + 1) / 2 + a] += u * row.u[C] + v * row.v[C];
        of_group[a] += u * row.u[C + 1] + v * row.v[C + 1];
      }
      const double u = row.u[C + 1] * row.weight, v = row.v[C + 1] * row.weight;
      of_group[C] += u * row.u[C + 1] + v * row.v[C + 1];
      of_group[C + 1] += u * row.u[C] + v * row.v[C];
    }
    for (int k = 0; k < C + 2; ++k) problem.groups[g * (C + 2) + k] = of_group[k];
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int k = 0; k < SUMS; ++k) {
    double sum = sums[k];
    for (int reach = 16; reach; reach /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, reach);
    if (lane == 0) of_warp[warp][k] = sum;
  }
  __syncthreads();
  for (int k = threadIdx.x; k < SUMS; k += THREADS) {
    double sum = 0;
    for (int w = 0; w < WARPS; ++w) sum += of_warp[w][k];
    chunk_sums[(int64_t)blockIdx.x * SUMS + k] = sum;
  }
}

// One block a pair: add its chunks in their order, and write both triangles.
template <int C>
__global__ void __launch_bounds__(THREADS)
    add_pairs(const double *chunk_sums, const int64_t *first_chunk, double *normal, double *gradient) {
  constexpr int SUMS = SUMS_OF<C>;
  const int64_t p = blockIdx.x;
  for (int k = threadIdx.x; k < C * (C + 1); k += THREADS) {
    const int row = k / (C + 1), column = k % (C + 1);
    const int a = row < column ? row : column, b = row < column ? column : row;
    const int from = column == C ? C * (C + 1) / 2 + row : a * C - a * (a - 1) / 2 + (b - a);
    double sum = 0;
    for (int64_t chunk = first_chunk[p]; chunk < first_chunk[p + 1]; ++chunk) sum += chunk_sums[chunk * SUMS + from];
    if (column == C)
      gradient[p * C + row] = sum;
    else
      normal[(p * C + row) * C + column] = sum;
  }
}

// Device memory that is given back with its owner.
struct Memory {
  void *at = nullptr;

  Memory() = default;
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  ~Memory() { cudaFree(at); }

  cudaError_t allocate(size_t bytes) { return cudaMalloc(&at, bytes ? bytes : 1); }
  cudaError_t fill(const void *from, size_t bytes) {
    RETURN_IF_FAILED(allocate(bytes));
    return cudaMemcpyAsync(at, from, bytes, cudaMemcpyHostToDevice, nullptr);
  }
  template <class T> T *as() const { return (T *)at; }
};

// Matches on the device, and room for what changes with each evaluation.
struct Resident {
  int device = 0;
  int64_t matches = 0, pairs = 0, groups = 0, chunks = 0;
  Memory group_start, source_xy, target_xy, offset, chunk_list, first_chunk;
  Memory cameras, weight, chunk_sums, normal, gradient, of_groups, squared_error; // sized for 12 columns
};

int64_t camera_numbers(const Resident &of) { return of.pairs * (9 + 3 + 1 + 1 + 2 + 2) + of.groups; }

void cut(const int64_t *pair_group_start, const int64_t *group_start, int64_t pairs, std::vector<Chunk> &chunks,
         std::vector<int64_t> &first_chunk) {
  for (int64_t p = 0; p < pairs; ++p) {
    first_chunk.push_back((int64_t)chunks.size());
    const int64_t end = pair_group_start[p + 1];
    for (int64_t first = pair_group_start[p], g = first; g < end; ++g)
      if (group_start[g + 1] - group_start[first] >= CHUNK || g + 1 == end) chunks.push_back({p, first, g + 1}), first = g + 1;
  }
  first_chunk.push_back((int64_t)chunks.size());
}

cudaError_t open(Resident &of, const int64_t *pair_group_start, const int64_t *group_start, const double *source_xy,
                 const double *target_xy, const double *offset) {
  RETURN_IF_FAILED(cudaSetDevice(of.device));
  std::vector<Chunk> chunks;
  std::vector<int64_t> first_chunk;
  cut(pair_group_start, group_start, of.pairs, chunks, first_chunk);
  of.chunks = (int64_t)chunks.size();
  const size_t number = sizeof(double), M = (size_t)of.matches;
  RETURN_IF_FAILED(of.group_start.fill(group_start, (of.groups + 1) * sizeof(int64_t)));
  RETURN_IF_FAILED(of.source_xy.fill(source_xy, 2 * M * number));
  RETURN_IF_FAILED(of.target_xy.fill(target_xy, 2 * M * number));
  RETURN_IF_FAILED(of.offset.fill(offset, M * number));
  RETURN_IF_FAILED(of.chunk_list.fill(chunks.data(), chunks.size() * sizeof(Chunk)));
  RETURN_IF_FAILED(of.first_chunk.fill(first_chunk.data(), first_chunk.size() * sizeof(int64_t)));
  RETURN_IF_FAILED(of.cameras.allocate(camera_numbers(of) * number));
  RETURN_IF_FAILED(of.weight.allocate(M * number));
  RETURN_IF_FAILED(of.chunk_sums.allocate(of.chunks * SUMS_OF<12> * number));
  RETURN_IF_FAILED(of.normal.allocate(of.pairs * 144 * number));
  RETURN_IF_FAILED(of.gradient.allocate(of.pairs * 12 * number));
  RETURN_IF_FAILED(of.of_groups.allocate(of.groups * 14 * number));
  RETURN_IF_FAILED(of.squared_error.allocate(M * number));
  return cudaStreamSynchronize(nullptr);
}

template <int C> cudaError_t add(const Resident &of, const Problem &problem) {
  if (of.chunks) {
    const dim3 grid((unsigned)of.chunks);
    RETURN_IF_FAILED(mast3r_kernels::launch(add_chunks<C>, grid, THREADS, nullptr, problem, of.chunk_list.as<const Chunk>(),
                                            of.chunk_sums.as<double>()));
  }
  if (!of.pairs) return cudaSuccess;
  return mast3r_kernels::launch(add_pairs<C>, dim3((unsigned)of.pairs), THREADS, nullptr, of.chunk_sums.as<const double>(),
                                of.first_chunk.as<const int64_t>(), of.normal.as<double>(), of.gradient.as<double>());
}

Problem problem_of(const Resident &of, double kernel_width) {
  const double *cameras = of.cameras.as<const double>();
  const auto next = [&](int64_t numbers) {
    const double *here = cameras;
    cameras += numbers;
    return here;
  };
  Problem problem = {};
  problem.matches = of.matches;
  problem.group_start = of.group_start.as<const int64_t>();
  problem.source_xy = of.source_xy.as<const double>();
  problem.target_xy = of.target_xy.as<const double>();
  problem.offset = of.offset.as<const double>();
  problem.rotation = next(9 * of.pairs);
  problem.translation = next(3 * of.pairs);
  problem.source_focal = next(of.pairs);
  problem.target_focal = next(of.pairs);
  problem.source_shift = next(2 * of.pairs);
  problem.target_shift = next(2 * of.pairs);
  problem.depth = next(of.groups);
  problem.weight = of.weight.as<const double>();
  problem.kernel_width = kernel_width;
  problem.groups = of.of_groups.as<double>();
  problem.squared_error = of.squared_error.as<double>();
  return problem;
}

} // namespace
} // namespace normal_equations

using namespace normal_equations;

PUBLIC const char *alignment_normal_equations_cuda_error(int32_t error) { return cudaGetErrorString((cudaError_t)error); }

PUBLIC void alignment_normal_equations_cuda_close(void *resident) {
  cudaSetDevice(((Resident *)resident)->device);
  delete (Resident *)resident;
}

// Put the matches (arrays.py) on a device. A handle in `resident`, to be closed; a cudaError_t, and then no handle.
PUBLIC int32_t alignment_normal_equations_cuda_open(int64_t matches, int64_t pairs, int64_t groups,
                                                    const int64_t *pair_group_start, const int64_t *group_start,
                                                    const double *source_xy, const double *target_xy, const double *offset,
                                                    int32_t device, void **resident) {
  Resident *opened = new (std::nothrow) Resident;
  if (!opened) return cudaErrorMemoryAllocation;
  opened->device = device, opened->matches = matches, opened->pairs = pairs, opened->groups = groups;
  cudaError_t failure = cudaErrorMemoryAllocation;
  try {
    failure = open(*opened, pair_group_start, group_start, source_xy, target_xy, offset);
  } catch (const std::bad_alloc &) {
  }
  if (failure != cudaSuccess)
    delete opened;
  else
    *resident = opened;
  return failure;
}

// One evaluation. `cameras` holds, one after the other, rotation (P, 3, 3), translation (P, 3), source_focal (P), target_focal
// (P), source_shift (P, 2), target_shift (P, 2), depth (G); C is 8, or 12 with principal points. A cudaError_t.
PUBLIC int32_t alignment_normal_equations_cuda(void *resident, const double *cameras, const double *weight, double kernel_width,
                                               int32_t C, double *normal, double *gradient, double *groups,
                                               double *squared_error) {
  const Resident &of = *(const Resident *)resident;
  const size_t number = sizeof(double);
  RETURN_IF_FAILED(cudaSetDevice(of.device));
  RETURN_IF_FAILED(cudaMemcpyAsync(of.cameras.at, cameras, camera_numbers(of) * number, cudaMemcpyHostToDevice, nullptr));
  RETURN_IF_FAILED(cudaMemcpyAsync(of.weight.at, weight, of.matches * number, cudaMemcpyHostToDevice, nullptr));
  const Problem problem = problem_of(of, kernel_width);
  RETURN_IF_FAILED(C == 8 ? add<8>(of, problem) : add<12>(of, problem));
  const auto fetch = [&](double *to, const Memory &from, int64_t numbers) {
    return cudaMemcpyAsync(to, from.at, numbers * number, cudaMemcpyDeviceToHost, nullptr);
  };
  RETURN_IF_FAILED(fetch(normal, of.normal, of.pairs * C * C));
  RETURN_IF_FAILED(fetch(gradient, of.gradient, of.pairs * C));
  RETURN_IF_FAILED(fetch(groups, of.of_groups, of.groups * (C + 2)));
  RETURN_IF_FAILED(fetch(squared_error, of.squared_error, of.matches));
  return cudaStreamSynchronize(nullptr);
}
