// The C interface. Chunks and the order of their sums depend on the matches alone, so that the answer does not depend on the
// number of threads.

#include <string.h>

#include <vector>

#include "../parallel.h"
#include "../processor.h"
#include "problem.h"

namespace normal_equations {
namespace {

constexpr int64_t CHUNK = 4096; // matches, and what is left of the last group

std::vector<const Path *> usable_paths() { // the fastest first
  std::vector<const Path *> paths;
#if defined(__x86_64__)
  if (mast3r_kernels::has_avx512()) paths.push_back(&AVX512);
  if (mast3r_kernels::has_avx2()) paths.push_back(&AVX2);
#endif
  paths.push_back(&GENERIC);
  return paths;
}

std::vector<Chunk> cut(const Problem &problem, int64_t pairs) {
  std::vector<Chunk> chunks;
  for (int64_t p = 0; p < pairs; ++p) {
    int64_t first = problem.pair_group_start[p];
    for (int64_t g = first; g < problem.pair_group_start[p + 1]; ++g)
      if (problem.group_start[g + 1] - problem.group_start[first] >= CHUNK || g + 1 == problem.pair_group_start[p + 1]) {
        chunks.push_back({p, first, g + 1});
        first = g + 1;
      }
  }
  return chunks;
}

void add_to_pair(const double *sums, int C, double *normal, double *gradient) {
  for (int a = 0; a < C; ++a) {
    for (int b = a; b < C; ++b) {
      normal[a * C + b] += sums[a * (C + 1) + b];
      if (b > a) normal[b * C + a] = normal[a * C + b];
    }
    gradient[a] += sums[a * (C + 1) + C];
  }
}

} // namespace
} // namespace normal_equations

using namespace normal_equations;

#define PUBLIC __attribute__((visibility("default")))

extern "C" {

// Names of the paths this processor can run, the fastest first, separated by spaces.
PUBLIC void alignment_normal_equations_paths(char *names, int64_t size) {
  mast3r_kernels::write_names(usable_paths(), names, size);
}

// The arrays of arrays.py, in its order; C is 8, or 12 with principal points. normal (P, C, C), gradient (P, C) and groups
// (G, C + 2) must be zeroed. 0, or 1: no such path here, 2: no memory.
PUBLIC int32_t alignment_normal_equations(int64_t matches, const int64_t *pair_start, const int64_t *pair_group_start,
                                          const int64_t *group_start, const double *source_xy, const double *target_xy,
                                          const double *offset, int64_t pairs, const double *rotation, const double *translation,
                                          const double *source_focal, const double *target_focal, const double *source_shift,
                                          const double *target_shift, const double *depth, const double *weight,
                                          double kernel_width, int32_t C, double *normal, double *gradient, double *groups,
                                          double *squared_error, const char *path_name, int32_t threads) {
  const Path *path = mast3r_kernels::find_path(usable_paths(), path_name);
  if (!path) return 1;
  try {
    const Problem problem = {matches,      pair_start, pair_group_start, group_start,  source_xy,    target_xy,
                             offset,       rotation,   translation,      source_focal, target_focal, source_shift,
                             target_shift, depth,      weight,           kernel_width, groups,       squared_error};
    const std::vector<Chunk> chunks = cut(problem, pairs);
    const int64_t size = (int64_t)C * (C + 1);
    std::vector<double> sums(chunks.size() * size);
    mast3r_kernels::run_in_parallel(threads, (int64_t)chunks.size(), [&](int64_t k) {
      (C == 8 ? path->add_8 : path->add_12)(problem, chunks[k], sums.data() + k * size);
    });
    for (size_t k = 0; k < chunks.size(); ++k)
      add_to_pair(sums.data() + k * size, C, normal + chunks[k].pair * C * C, gradient + chunks[k].pair * C);
    return 0;
  } catch (...) {
    return 2;
  }
}

} // extern "C"
