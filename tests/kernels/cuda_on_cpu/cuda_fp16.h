// The half-precision number of the CUDA stand-in: stored in 16 bits, worked with in float32.
#pragma once

#include <immintrin.h>
#include <stdint.h>

struct __half {
  uint16_t bits;
};
typedef __half half;

inline float __half2float(__half x) { return _cvtsh_ss(x.bits); }
