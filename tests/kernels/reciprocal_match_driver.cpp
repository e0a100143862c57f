// Runs one search on a processor other than the one that compiles: sets from standard input, matches to standard output.
// Input, in order: int64 rows_a, width_a, rows_b, width_b, D, count; float32 a, b; int64 starts.
#include "driver_input.h"

extern "C" {
void *reciprocal_match_open(const float *a, int64_t rows_a, int64_t width_a, const float *b, int64_t rows_b, int64_t width_b,
                            int32_t D, const char *path_name, int32_t threads, int32_t *why, int64_t *bad_row);
void reciprocal_match_close(void *search);
int64_t reciprocal_match_walk(void *search, const int64_t *starts, int64_t count, int32_t from_b, int32_t max_iterations,
                              int64_t *here, int64_t *there);
}

int main() {
  const auto head = read_numbers<int64_t>(6);
  const auto a = read_numbers<float>(head[0] * head[4]), b = read_numbers<float>(head[2] * head[4]);
  const auto starts = read_numbers<int64_t>(head[5]);
  int32_t why = 0;
  int64_t bad_row = 0;
  void *search = reciprocal_match_open(a.data(), head[0], head[1], b.data(), head[2], head[3], (int32_t)head[4], "generic", 2,
                                       &why, &bad_row);
  if (!search) return 10 + why;
  std::vector<int64_t> here(starts.size()), there(starts.size());
  const int64_t ends = reciprocal_match_walk(search, starts.data(), head[5], 0, 10, here.data(), there.data());
  reciprocal_match_close(search);
  for (int64_t k = 0; k < ends; ++k) printf("%lld %lld\n", (long long)here[k], (long long)there[k]);
  return 0;
}
