// The op's arguments and results as flat arrays (arrays.py says what each is), and the table that each instruction set fills in.
//
// This header is included by files compiled for different instruction sets: nothing inline may stand in it.
#pragma once

#include <stdint.h>

namespace normal_equations {

constexpr double HIDDEN = 1e8;   // squared pixels: the error of a point that is not in front of the target
constexpr double NEAREST = 1e-3; // of the source depth: nearer to the target's image plane than this is not in front

struct Problem {
  int64_t matches; // M; source_xy and target_xy are (2, M)
  const int64_t *pair_start, *pair_group_start, *group_start;
  const double *source_xy, *target_xy, *offset;
  const double *rotation, *translation, *source_focal, *target_focal, *source_shift, *target_shift, *depth;
  const double *weight;
  double kernel_width;
  double *groups;        // (G, C + 2), zeroed
  double *squared_error; // (M,)
};

// Whole groups of one pair.
struct Chunk {
  int64_t pair, first_group, last_group;
};

// With C columns: row a of (C, C + 1) holds the upper triangle of the normal matrix (what is left of it is not written), then the
// gradient.
struct Path {
  const char *name;
  void (*add_8)(const Problem &, const Chunk &, double *sums);
  void (*add_12)(const Problem &, const Chunk &, double *sums);
};

extern const Path GENERIC;
#if defined(__x86_64__)
extern const Path AVX2;
extern const Path AVX512;
#endif

} // namespace normal_equations
