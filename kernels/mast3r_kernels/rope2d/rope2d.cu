// The op on NVIDIA GPUs, in place. Memory is the limit: each thread rotates the pairs of 4 neighbouring components, or of one
// where strides or addresses do not let it read 4 at once. Products and sums are rounded one by one, as torch does.

#include <stdint.h>

#include "../cuda_launch.cuh"

namespace rope {
namespace {

constexpr int THREADS = 256;
constexpr int64_t MOST_BLOCKS = 1 << 20; // threads take further pieces of work until all is done
constexpr int MOST_OUTER = 6;

struct Outer { // the dimensions before the tokens'
  int count;
  int64_t sizes[MOST_OUTER], strides[MOST_OUTER];

  __device__ int64_t offset(int64_t k) const {
    int64_t at = 0;
    for (int d = count - 1; d >= 0; --d) at += k % sizes[d] * strides[d], k /= sizes[d];
    return at;
  }
};

struct Float32 {
  typedef float Stored;
  static __device__ float read(float x) { return x; }
  static __device__ float round(float x) { return x; }
};

struct Bfloat16 {
  typedef uint16_t Stored;
  static __device__ float read(uint16_t x) { return __uint_as_float((uint32_t)x << 16); }
  static __device__ uint16_t round(float x) { // to nearest, ties to even; NaN stays NaN
    const uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

template <class Stored, int V> struct alignas(sizeof(Stored) * V) Vector {
  Stored of[V];
};

// Pieces of work: (outer, token, half, V components of the half's first quarter).
template <class Number, int V>
__global__ void rotate(typename Number::Stored *x, Outer outer, int64_t tokens, int64_t token_stride, int quarter,
                       const float *cos, const float *sin, int64_t pieces) {
  typedef Vector<typename Number::Stored, V> Numbers;
  typedef Vector<float, V> Angles;
  const int in_half = quarter / V;
  const int64_t step = (int64_t)gridDim.x * blockDim.x;
  for (int64_t piece = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; piece < pieces; piece += step) {
    const int within = (int)(piece % (2 * in_half)), half = within / in_half, first = within % in_half * V;
    const int64_t vector = piece / (2 * in_half), token = vector % tokens;
    auto *at = x + outer.offset(vector / tokens) + token * token_stride + half * 2 * quarter + first;
    const int64_t angle = token * 2 * quarter + half * quarter + first;
    const Angles c = *(const Angles *)(cos + angle), s = *(const Angles *)(sin + angle);
    const Numbers a = *(const Numbers *)at, b = *(const Numbers *)(at + quarter);
    Numbers rotated_a, rotated_b;
    for (int i = 0; i < V; ++i) {
      const float p = Number::read(a.of[i]), q = Number::read(b.of[i]);
      rotated_a.of[i] = Number::round(__fsub_rn(__fmul_rn(p, c.of[i]), __fmul_rn(q, s.of[i])));
      rotated_b.of[i] = Number::round(__fadd_rn(__fmul_rn(q, c.of[i]), __fmul_rn(p, s.of[i])));
    }
    *(Numbers *)at = rotated_a;
    *(Numbers *)(at + quarter) = rotated_b;
  }
}

bool takes_four(const void *x, int bytes, const Outer &outer, int64_t token_stride, int quarter, const void *cos,
                const void *sin) {
  bool fits = quarter % 4 == 0 && token_stride % 4 == 0 && (uintptr_t)x % (4 * bytes) == 0;
  fits = fits && (uintptr_t)cos % 16 == 0 && (uintptr_t)sin % 16 == 0;
  for (int d = 0; d < outer.count; ++d) fits = fits && outer.strides[d] % 4 == 0;
  return fits;
}

template <class Number, int V>
cudaError_t start(void *x, const Outer &outer, int64_t vectors, int64_t tokens, int64_t token_stride, int quarter,
                  const float *cos, const float *sin, void *stream) {
  const int64_t pieces = vectors * tokens * 2 * (quarter / V), wanted = (pieces + THREADS - 1) / THREADS;
  const dim3 grid((unsigned)(wanted < MOST_BLOCKS ? wanted : MOST_BLOCKS));
  return mast3r_kernels::launch(rotate<Number, V>, grid, THREADS, stream, (typename Number::Stored *)x, outer, tokens,
                                token_stride, quarter, cos, sin, pieces);
}

} // namespace
} // namespace rope

using namespace rope;

PUBLIC const char *rope2d_cuda_error(int32_t error) { return cudaGetErrorString((cudaError_t)error); }

// Rotate x (..., tokens, C) in place on `stream` of `device`: `outer` (at most 6) sizes and strides before the tokens', strides
// in numbers, the last one 1; bytes of a number 4 for float32, 2 for bfloat16; cos and sin (tokens, C / 2), contiguous. A
// cudaError_t.
PUBLIC int32_t rope2d_cuda(void *x, int32_t bytes, int64_t outer, const int64_t *sizes, const int64_t *strides, int64_t tokens,
                           int64_t token_stride, int64_t C, const float *cos, const float *sin, int32_t device, void *stream) {
  if (outer > MOST_OUTER) return cudaErrorInvalidValue;
  RETURN_IF_FAILED(cudaSetDevice(device));
  Outer before = {};
  before.count = (int)outer;
  int64_t vectors = 1;
  for (int64_t d = 0; d < outer; ++d) before.sizes[d] = sizes[d], before.strides[d] = strides[d], vectors *= sizes[d];
  const int quarter = (int)(C / 4);
  if (!vectors || !tokens || !quarter) return cudaSuccess;
  const bool four = takes_four(x, bytes, before, token_stride, quarter, cos, sin);
  const auto run = bytes == 4 ? (four ? start<Float32, 4> : start<Float32, 1>) : (four ? start<Bfloat16, 4> : start<Bfloat16, 1>);
  return run(x, before, vectors, tokens, token_stride, quarter, cos, sin, stream);
}
