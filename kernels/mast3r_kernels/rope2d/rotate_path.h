// Rotation of one vector, written for the compiler to vectorise. Included once by each file that is compiled for one instruction
// set; everything is in an unnamed namespace. Without fused multiply-add, so that every path gives torch's bits.

#include <string.h>

#include "rotate.h"

namespace rope {
namespace {

struct Float32 {
  typedef float Number;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};

struct Bfloat16 {
  typedef uint16_t Number;
  static float load(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }
  static uint16_t store(float x) { // to the nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }
};

template <typename Type> void rotate(void *vector, const float *cos, const float *sin, int64_t quarter) {
  typedef typename Type::Number Number;
  for (int half = 0; half < 2; ++half) {
    Number *__restrict first = (Number *)vector + 2 * half * quarter, *__restrict second = first + quarter;
    const float *__restrict c = cos + half * quarter, *__restrict s = sin + half * quarter;
    for (int64_t i = 0; i < quarter; ++i) {
      const float a = Type::load(first[i]), b = Type::load(second[i]);
      first[i] = Type::store(a * c[i] - b * s[i]);
      second[i] = Type::store(b * c[i] + a * s[i]);
    }
  }
}

} // namespace
} // namespace rope
