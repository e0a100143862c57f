// What this processor can run. Included only by files compiled for every processor.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace mast3r_kernels {

inline bool has_avx512() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

inline bool has_avx2() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

// Names of the paths, separated by spaces; what is cut off does not fit into `size`.
template <typename Path> void write_names(const std::vector<const Path *> &paths, char *names, int64_t size) {
  std::string all;
  for (const Path *path : paths) all += (all.empty() ? "" : " ") + std::string(path->name);
  snprintf(names, (size_t)size, "%s", all.c_str());
}

// The path of that name, the first one for an empty name, null when there is none.
template <typename Path> const Path *find_path(const std::vector<const Path *> &paths, const std::string &name) {
  for (const Path *path : paths)
    if (name.empty() || name == path->name) return path;
  return nullptr;
}

} // namespace mast3r_kernels
