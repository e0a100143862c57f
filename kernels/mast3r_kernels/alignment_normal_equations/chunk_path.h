// One chunk of matches, for vectors of LANES doubles. Included once by each file that is compiled for one instruction set;
// everything is in an unnamed namespace, so that no two of them share code. The formulas are those of reference.py.

#include <string.h>

#include "problem.h"

namespace normal_equations {
namespace {

typedef double Doubles __attribute__((vector_size(8 * LANES)));

constexpr int BLOCK = 64; // matches worked on together
constexpr int VECTORS = BLOCK / LANES;
constexpr int STRIDE = BLOCK + 8; // of the group sums' rows: not a power of two, so that they do not share cache sets

enum Input { SOURCE_X, SOURCE_Y, TARGET_X, TARGET_Y, DEPTH, WEIGHT, INPUTS };

// BLOCK matches; rows of J are the camera columns, then the residual, then the log-depth; u in [0], v in [1].
template <int C> struct Block {
  alignas(64) double input[INPUTS][BLOCK];
  alignas(64) Doubles J[C + 2][2][VECTORS];
  alignas(64) Doubles weighted[C][2][VECTORS];
  alignas(64) Doubles robust[VECTORS];
  alignas(64) Doubles error[VECTORS];
  alignas(64) double by_depth[C + 2][STRIDE];
};

inline Doubles all(double x) { return Doubles{} + x; }

// Fill the inputs with matches from `first` on; places left over repeat the first match with weight 0.
template <int C> void load(const Problem &problem, int64_t first, int count, Block<C> &block) {
  const double *from[INPUTS] = {problem.source_xy, problem.source_xy + problem.matches,
                                problem.target_xy, problem.target_xy + problem.matches,
                                problem.offset,    problem.weight};
  for (int i = 0; i < INPUTS; ++i) {
    memcpy(block.input[i], from[i] + first, count * sizeof(double));
    for (int k = count; k < BLOCK; ++k) block.input[i][k] = i == WEIGHT ? 0.0 : block.input[i][0];
  }
}

template <int C> void differentiate(const Problem &problem, int64_t p, Block<C> &block) {
  const double *R = problem.rotation + 9 * p, *t = problem.translation + 3 * p;
  const double f = problem.target_focal[p], inverse_f = 1.0 / f, inverse_source = 1.0 / problem.source_focal[p];
  const double *source_shift = problem.source_shift + 2 * p, *target_shift = problem.target_shift + 2 * p;
  const double inverse_width = 1.0 / (problem.kernel_width * problem.kernel_width);
  for (int k = 0; k < VECTORS; ++k) {
    const auto input = [&](Input i) { return ((const Doubles *)block.input[i])[k]; };
    const Doubles depth = input(DEPTH), along_ray = depth * inverse_source;
    const Doubles a = (input(SOURCE_X) - source_shift[0]) * along_ray, b = (input(SOURCE_Y) - source_shift[1]) * along_ray;
    const Doubles X = R[0] * a + R[1] * b + (R[2] * depth + t[0]);
    const Doubles Y = R[3] * a + R[4] * b + (R[5] * depth + t[1]);
    const Doubles Z = R[6] * a + R[7] * b + (R[8] * depth + t[2]);
    const auto hidden = NEAREST * depth > Z;
    const Doubles inverse = 1.0 / (hidden ? all(1.0) : Z);
    const Doubles scale = f * inverse, u = X * scale, v = Y * scale, uv = u * v * inverse_f, along = depth * inverse;
    const auto set = [&](int row, Doubles du, Doubles dv) { block.J[row][0][k] = du, block.J[row][1][k] = dv; };
    const Doubles u_depth = (u * t[2] - f * t[0]) * inverse, v_depth = (v * t[2] - f * t[1]) * inverse;
    set(0, -uv, -f - v * v * inverse_f);
    set(1, f + u * u * inverse_f, uv);
    set(2, -v, u);
    set(3, scale, all(0.0));
    set(4, all(0.0), scale);
    set(5, -u * inverse, -v * inverse);
    set(6, along * (f * R[2] - u * R[8]) - u_depth, along * (f * R[5] - v * R[8]) - v_depth);
    set(7, u, v);
    if constexpr (C > 8) {
      const Doubles sideways = -along * inverse_source;
      set(8, sideways * (f * R[0] - u * R[6]), sideways * (f * R[3] - v * R[6]));
      set(9, sideways * (f * R[1] - u * R[7]), sideways * (f * R[4] - v * R[7]));
      set(10, all(1.0), all(0.0));
      set(11, all(0.0), all(1.0));
    }
    const Doubles du = u + (target_shift[0] - input(TARGET_X)), dv = v + (target_shift[1] - input(TARGET_Y));
    set(C, du, dv);
    set(C + 1, u_depth, v_depth);
    const Doubles error = du * du + dv * dv, weight = input(WEIGHT);
    block.error[k] = hidden ? all(HIDDEN) : error;
    block.robust[k] = hidden ? all(0.0) : weight / (1.0 + error * weight * inverse_width);
  }
}

// sums += weighted rows times rows: four rows by two at a time, as many as fit the registers.
template <int C> void multiply(Block<C> &block, Doubles (*sums)[C + 2]) {
  for (int a = 0; a < C; ++a)
    for (int k = 0; k < VECTORS; ++k) {
      block.weighted[a][0][k] = block.J[a][0][k] * block.robust[k];
      block.weighted[a][1][k] = block.J[a][1][k] * block.robust[k];
    }
  for (int a = 0; a < C; a += 4)
    for (int b = a; b < C + 2; b += 2) {
      Doubles sum[4][2] = {};
      const Doubles *left[4], *right[2] = {block.J[b][0], block.J[b + 1][0]};
      for (int i = 0; i < 4; ++i) left[i] = block.weighted[a + i][0];
      for (int k = 0; k < 2 * VECTORS; ++k)
        for (int i = 0; i < 4; ++i)
          for (int j = 0; j < 2; ++j) sum[i][j] += left[i][k] * right[j][k];
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 2; ++j) sums[a + i][b + j] += sum[i][j];
    }
}

// Couplings of each match with its depth, in the order of the results: camera columns, curvature, gradient.
template <int C> void couple(Block<C> &block) {
  for (int k = 0; k < VECTORS; ++k) {
    const Doubles u = block.J[C + 1][0][k] * block.robust[k], v = block.J[C + 1][1][k] * block.robust[k];
    for (int row = 0; row < C + 2; ++row) {
      const int place = row < C ? row : row == C ? C + 1 : C;
      const Doubles product = block.J[row][0][k] * u + block.J[row][1][k] * v;
      memcpy(block.by_depth[place] + k * LANES, &product, sizeof product);
    }
  }
}

template <int C> void add_chunk(const Problem &problem, const Chunk &chunk, double *total) {
  Block<C> block;
  Doubles sums[C][C + 2] = {};
  const int64_t *group_start = problem.group_start;
  const int64_t last = group_start[chunk.last_group];
  int64_t g = chunk.first_group;
  for (int64_t first = group_start[g]; first < last; first += BLOCK) {
    const int count = last - first < BLOCK ? (int)(last - first) : BLOCK;
    load(problem, first, count, block);
    int64_t group = g;
    for (int k = 0; k < count; ++k) {
      while (group_start[group + 1] <= first + k) ++group;
      block.input[DEPTH][k] *= problem.depth[group];
    }
    for (int k = count; k < BLOCK; ++k) block.input[DEPTH][k] = block.input[DEPTH][0];
    differentiate(problem, chunk.pair, block);
    memcpy(problem.squared_error + first, block.error, count * sizeof(double));
    multiply(block, sums);
    couple(block);
    for (int k = 0; k < count;) {
      while (group_start[g + 1] <= first + k) ++g;
      const int64_t stop = group_start[g + 1] - first;
      const int end = stop < count ? (int)stop : count;
      double *of_group = problem.groups + g * (C + 2);
      for (; k < end; ++k)
        for (int row = 0; row < C + 2; ++row) of_group[row] += block.by_depth[row][k];
    }
  }
  for (int a = 0; a < C; ++a)
    for (int b = a; b < C + 1; ++b) {
      double sum = 0;
      for (int lane = 0; lane < LANES; ++lane) sum += sums[a][b][lane];
      total[a * (C + 1) + b] = sum;
    }
}

} // namespace
} // namespace normal_equations
