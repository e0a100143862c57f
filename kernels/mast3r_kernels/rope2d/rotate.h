// The table that each instruction set fills in.
//
// This header is included by files compiled for different instruction sets: nothing inline may stand in it.
#pragma once

#include <stdint.h>

namespace rope {

// Rotate one vector of 4 * quarter numbers; cos and sin hold 2 * quarter.
struct Path {
  const char *name;
  void (*rotate_float32)(void *vector, const float *cos, const float *sin, int64_t quarter);
  void (*rotate_bfloat16)(void *vector, const float *cos, const float *sin, int64_t quarter);
};

extern const Path GENERIC;
#if defined(__x86_64__)
extern const Path AVX2;
#endif

} // namespace rope
