// Rotates one tensor on a processor other than the one that compiles. Input: int64 bytes of a number, vectors, tokens, C; the
// numbers x (vectors, tokens, C); float32 cos, sin (tokens, C / 2). Output: x.
#include "driver_input.h"

extern "C" int32_t rope2d(void *x, int32_t bytes, int64_t outer, const int64_t *sizes, const int64_t *strides, int64_t tokens,
                          int64_t token_stride, int64_t C, const float *cos, const float *sin, const char *path_name,
                          int32_t threads);

int main() {
  const auto head = read_numbers<int64_t>(4);
  const int64_t vectors = head[1], tokens = head[2], C = head[3], stride = tokens * C;
  auto x = read_numbers<char>(vectors * tokens * C * head[0]);
  const auto cos = read_numbers<float>(tokens * C / 2), sin = read_numbers<float>(tokens * C / 2);
  if (rope2d(x.data(), (int32_t)head[0], 1, &vectors, &stride, tokens, C, C, cos.data(), sin.data(), "generic", 2)) return 1;
  write_numbers(x);
  return 0;
}
