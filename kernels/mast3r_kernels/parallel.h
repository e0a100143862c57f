// Work shared among threads that live as long as the work.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace mast3r_kernels {

// Call work(k) once for each k below `count`, on at most `threads` threads; rethrows the first exception of any.
template <typename Work> void run_in_parallel(int threads, int64_t count, const Work &work) {
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failing;
  const auto take = [&] {
    try {
      for (int64_t k = next++; k < count; k = next++) work(k);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failing);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  for (int64_t k = 1; k < threads && k < count; ++k) {
    try {
      others.emplace_back(take);
    } catch (...) {
      break; // no more threads to be had: those there are do the work
    }
  }
  take();
  for (std::thread &other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

} // namespace mast3r_kernels
