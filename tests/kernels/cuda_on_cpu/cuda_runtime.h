// A stand-in for the CUDA runtime, so that the tests run the very sources of the GPU kernels on a machine without a GPU.
//
// Blocks run one after the other. The threads of a block are fibres: each runs until it waits for the others, and a block whose
// threads all wait for different things stops the program with a message. What it shows: indices, barriers, shuffles, atomics and
// arithmetic are right. What it can't show: races between barriers of one warp's lanes, and speed.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(16) int4 {
  int x, y, z, w;
};

typedef int cudaError_t;
typedef void *cudaStream_t;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace cuda_on_cpu {

constexpr int WARP = 32;
constexpr size_t STACK = 128 * 1024;

struct Barrier {
  int expected = 0, arrived = 0;
  long generation = 0;
};

struct Fibre {
  ucontext_t context;
  const Barrier *waits_for = nullptr;
  long since = 0;
  bool ended = false;
};

struct Block {
  std::function<void()> body;
  ucontext_t scheduler;
  std::vector<Fibre> fibres;
  std::vector<Barrier> warps;
  Barrier all;
  std::vector<uint64_t> exchanged; // what each thread shows its warp
  int running = 0;
};

inline Block *current = nullptr;

inline void wait_at(Barrier &barrier) {
  Fibre &me = current->fibres[current->running];
  const long generation = barrier.generation;
  if (++barrier.arrived == barrier.expected) {
    barrier.arrived = 0, ++barrier.generation;
    return;
  }
  me.waits_for = &barrier, me.since = generation;
  swapcontext(&me.context, &current->scheduler);
  me.waits_for = nullptr;
}

inline Barrier &my_warp() { return current->warps[current->running / WARP]; }

inline void enter() {
  current->body();
  current->fibres[current->running].ended = true;
  swapcontext(&current->fibres[current->running].context, &current->scheduler);
}

inline char *stack_of(size_t thread) { // used again by the next block
  static std::vector<std::unique_ptr<char[]>> stacks;
  while (stacks.size() <= thread) stacks.emplace_back(new char[STACK]);
  return stacks[thread].get();
}

inline void run_block(Block &block, int threads) {
  block.fibres = std::vector<Fibre>(threads);
  block.warps = std::vector<Barrier>((threads + WARP - 1) / WARP);
  for (int w = 0; w < (int)block.warps.size(); ++w)
    block.warps[w].expected = threads - w * WARP < WARP ? threads - w * WARP : WARP;
  block.all = Barrier{threads};
  block.exchanged.assign(threads, 0);
  for (Fibre &fibre : block.fibres) {
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = stack_of(&fibre - block.fibres.data());
    fibre.context.uc_stack.ss_size = STACK;
    makecontext(&fibre.context, enter, 0);
  }
  current = &block;
  for (bool alive = true, moved = true; alive; moved = false) {
    alive = false;
    for (int k = 0; k < threads; ++k) {
      Fibre &fibre = block.fibres[k];
      if (fibre.ended) continue;
      alive = true;
      if (fibre.waits_for && fibre.waits_for->generation == fibre.since) continue;
      block.running = k, threadIdx = dim3(k, 0, 0), moved = true;
      swapcontext(&block.scheduler, &fibre.context);
    }
    if (alive && !moved) {
      fprintf(stderr, "cuda_on_cpu: the threads of block %u wait for each other for ever\n", blockIdx.x);
      abort();
    }
  }
  current = nullptr;
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, void *, Arguments... arguments) {
  gridDim = grid, blockDim = dim3(threads, 1, 1);
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        Block block;
        block.body = [&] { kernel(arguments...); };
        run_block(block, threads);
      }
  return cudaSuccess;
}

template <class T> T from_lane(T value, int lane) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  const int first = current->running / WARP * WARP;
  memcpy(&current->exchanged[current->running], &value, sizeof(T));
  wait_at(my_warp());
  T read;
  memcpy(&read, &current->exchanged[first + lane], sizeof(T));
  wait_at(my_warp());
  return read;
}

} // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::wait_at(cuda_on_cpu::current->all); }
inline void __syncwarp() { cuda_on_cpu::wait_at(cuda_on_cpu::my_warp()); }

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_cpu::from_lane(value, (cuda_on_cpu::current->running % cuda_on_cpu::WARP) ^ mask);
}
template <class T> T __shfl_sync(unsigned, T value, int lane) { return cuda_on_cpu::from_lane(value, lane); }

inline unsigned __ballot_sync(unsigned, bool vote) {
  unsigned votes = 0;
  for (int lane = 0; lane < cuda_on_cpu::WARP; ++lane) votes |= (unsigned)__shfl_sync(0, (int)vote, lane) << lane;
  return votes;
}
inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }

inline int atomicCAS(int *at, int expected, int wanted) {
  const int old = *at;
  if (old == expected) *at = wanted;
  return old;
}
inline int atomicAdd(int *at, int more) {
  const int old = *at;
  *at += more;
  return old;
}

// Built with -ffp-contract=off: each of these is rounded by itself.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "error";
}
inline cudaError_t cudaMalloc(void **at, size_t bytes) {
  *at = malloc(bytes ? bytes : 1);
  return *at ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void *at) {
  free(at);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  if (bytes) memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t) {
  memset(at, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
