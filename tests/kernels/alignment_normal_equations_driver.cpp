// One evaluation on a processor other than the one that compiles. Input: int64 matches, pairs, groups, C; the arrays of arrays.py
// in their order (int64, then float64), weight; float64 kernel width. Output: normal, gradient, groups, squared_error.
#include "driver_input.h"

extern "C" int32_t alignment_normal_equations(int64_t matches, const int64_t *pair_start, const int64_t *pair_group_start,
                                              const int64_t *group_start, const double *source_xy, const double *target_xy,
                                              const double *offset, int64_t pairs, const double *rotation,
                                              const double *translation, const double *source_focal, const double *target_focal,
                                              const double *source_shift, const double *target_shift, const double *depth,
                                              const double *weight, double kernel_width, int32_t C, double *normal,
                                              double *gradient, double *groups, double *squared_error, const char *path_name,
                                              int32_t threads);

int main() {
  const auto head = read_numbers<int64_t>(4);
  const int64_t M = head[0], P = head[1], G = head[2], C = head[3];
  const auto pair_start = read_numbers<int64_t>(P + 1), pair_group_start = read_numbers<int64_t>(P + 1);
  const auto group_start = read_numbers<int64_t>(G + 1);
  const auto numbers = [](int64_t count) { return read_numbers<double>(count); };
  const auto source_xy = numbers(2 * M), target_xy = numbers(2 * M), offset = numbers(M);
  const auto rotation = numbers(9 * P), translation = numbers(3 * P), source_focal = numbers(P), target_focal = numbers(P);
  const auto source_shift = numbers(2 * P), target_shift = numbers(2 * P), depth = numbers(G), weight = numbers(M);
  const auto kernel_width = numbers(1);
  std::vector<double> normal(P * C * C), gradient(P * C), groups(G * (C + 2)), squared_error(M);
  if (alignment_normal_equations(M, pair_start.data(), pair_group_start.data(), group_start.data(), source_xy.data(),
                                 target_xy.data(), offset.data(), P, rotation.data(), translation.data(), source_focal.data(),
                                 target_focal.data(), source_shift.data(), target_shift.data(), depth.data(), weight.data(),
                                 kernel_width[0], (int32_t)C, normal.data(), gradient.data(), groups.data(), squared_error.data(),
                                 "generic", 2))
    return 1;
  for (const auto &sums : {normal, gradient, groups, squared_error}) write_numbers(sums);
  return 0;
}
