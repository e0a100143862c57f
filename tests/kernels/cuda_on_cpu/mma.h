// Matrix fragments of the CUDA stand-in: 16 x 16 x 16, half-precision factors, float32 sums. Factors are held whole by every
// lane; of a sum each lane holds 8 numbers, which ones is nobody's business, as on the device.
#pragma once

#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major };

constexpr int SIDE = 16, HELD = SIDE * SIDE / 32;

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
  float of[SIDE][SIDE]; // factors: row, column as multiplied
};

template <> struct fragment<accumulator, SIDE, SIDE, SIDE, float, void> {
  static constexpr int num_elements = HELD;
  float x[HELD];
};
typedef fragment<accumulator, SIDE, SIDE, SIDE, float, void> Sums;

inline int held(int i) { return (cuda_on_cpu::current->running % cuda_on_cpu::WARP) * HELD + i; }

inline void fill_fragment(Sums &sums, float value) {
  for (float &x : sums.x) x = value;
}

inline void load_matrix_sync(fragment<matrix_a, SIDE, SIDE, SIDE, half, row_major> &a, const half *from, unsigned stride) {
  for (int i = 0; i < SIDE; ++i)
    for (int k = 0; k < SIDE; ++k) a.of[i][k] = __half2float(from[i * stride + k]);
}

inline void load_matrix_sync(fragment<matrix_b, SIDE, SIDE, SIDE, half, col_major> &b, const half *from, unsigned stride) {
  for (int k = 0; k < SIDE; ++k)
    for (int j = 0; j < SIDE; ++j) b.of[k][j] = __half2float(from[j * stride + k]);
}

template <class A, class B> void mma_sync(Sums &result, const A &a, const B &b, const Sums &sums) {
  for (int e = 0; e < HELD; ++e) {
    const int i = held(e) / SIDE, j = held(e) % SIDE;
    float sum = sums.x[e];
    for (int k = 0; k < SIDE; ++k) sum += a.of[i][k] * b.of[k][j];
    result.x[e] = sum;
  }
}

inline void store_matrix_sync(float *to, const Sums &sums, unsigned stride, layout_t) {
  for (int e = 0; e < HELD; ++e) to[held(e) / SIDE * stride + held(e) % SIDE] = sums.x[e];
}

} // namespace wmma
} // namespace nvcuda
