// The C interface. Every vector is rotated by itself, so that the answer does not depend on the number of threads.

#include <vector>

#include "../parallel.h"
#include "../processor.h"
#include "rotate.h"

namespace rope {
namespace {

constexpr int64_t TOKENS = 16;              // whose tables stay near the processor while all their vectors are rotated
constexpr int64_t WORTH_A_THREAD = 1 << 18; // numbers; starting a thread takes as long as rotating a part of them

std::vector<const Path *> usable_paths() { // the fastest first
  std::vector<const Path *> paths;
#if defined(__x86_64__)
  if (mast3r_kernels::has_avx2()) paths.push_back(&AVX2);
#endif
  paths.push_back(&GENERIC);
  return paths;
}

struct Outer { // the dimensions before the tokens'
  int64_t count;
  const int64_t *sizes, *strides;

  int64_t offset(int64_t k) const {
    int64_t at = 0;
    for (int64_t d = count - 1; d >= 0; --d) at += k % sizes[d] * strides[d], k /= sizes[d];
    return at;
  }

  int64_t vectors() const {
    int64_t all = 1;
    for (int64_t d = 0; d < count; ++d) all *= sizes[d];
    return all;
  }
};

} // namespace
} // namespace rope

using namespace rope;

#define PUBLIC __attribute__((visibility("default")))

extern "C" {

// Names of the paths this processor can run, the fastest first, separated by spaces.
PUBLIC void rope2d_paths(char *names, int64_t size) { mast3r_kernels::write_names(usable_paths(), names, size); }

// Rotate x (..., tokens, C) in place: `outer` sizes and strides before the tokens', strides in numbers, the last one 1; bytes of
// a number 4 for float32, 2 for bfloat16; cos and sin (tokens, C / 2). 0, or 1: no such path here, 2: no memory.
PUBLIC int32_t rope2d(void *x, int32_t bytes, int64_t outer, const int64_t *sizes, const int64_t *strides, int64_t tokens,
                      int64_t token_stride, int64_t C, const float *cos, const float *sin, const char *path_name,
                      int32_t threads) {
  const Path *path = mast3r_kernels::find_path(usable_paths(), path_name);
  if (!path) return 1;
  try {
    const Outer before = {outer, sizes, strides};
    const int64_t vectors = before.vectors(), worth = vectors * tokens * C / WORTH_A_THREAD + 1;
    const auto rotate = bytes == 4 ? path->rotate_float32 : path->rotate_bfloat16;
    const int used = (int)(worth < threads ? worth : threads);
    mast3r_kernels::run_in_parallel(used, (tokens + TOKENS - 1) / TOKENS, [&](int64_t part) {
      const int64_t first = part * TOKENS, last = first + TOKENS < tokens ? first + TOKENS : tokens;
      for (int64_t k = 0; k < vectors; ++k) {
        char *vector = (char *)x + before.offset(k) * bytes;
        for (int64_t s = first; s < last; ++s)
          rotate(vector + s * token_stride * bytes, cos + s * (C / 2), sin + s * (C / 2), C / 4);
      }
    });
    return 0;
  } catch (...) {
    return 2;
  }
}

} // extern "C"
