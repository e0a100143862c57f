// How the CUDA sources start kernels. Compiled by another compiler than nvcc, they run on the stand-in that the tests bring
// (tests/kernels/cuda_on_cpu), one thread after the other.
#pragma once

#include <cuda_runtime.h>

namespace mast3r_kernels {

#if defined(__CUDACC__)
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int block, void *stream, Arguments... arguments) {
  kernel<<<grid, block, 0, (cudaStream_t)stream>>>(arguments...);
  return cudaGetLastError();
}
#else
using cuda_on_cpu::launch;
#endif

} // namespace mast3r_kernels

#define PUBLIC extern "C" __attribute__((visibility("default")))

// Leave a function that answers with a cudaError_t when a step of it fails.
#define RETURN_IF_FAILED(step)                                                                                                   \
  do {                                                                                                                           \
    const cudaError_t failure = (step);                                                                                          \
    if (failure != cudaSuccess) return failure;                                                                                  \
  } while (0)
