// The C interface, and the walk. The rule of arithmetic stands in reference.py; every path below obeys it, so that the answer
// depends neither on the processor nor on the number of threads.

#include <algorithm>
#include <memory>
#include <vector>

#include "../processor.h"
#include "nearest.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace reciprocal_match {
namespace {

std::vector<const Path *> usable_paths() { // the fastest first
  std::vector<const Path *> paths;
#if defined(__x86_64__)
  const bool avx512 = mast3r_kernels::has_avx512();
  if (avx512 && __builtin_cpu_supports("avx512vnni")) paths.push_back(&AVX512_VNNI);
  if (avx512) paths.push_back(&AVX512);
  if (mast3r_kernels::has_avx2()) paths.push_back(&AVX2);
#endif
  paths.push_back(&GENERIC);
  return paths;
}

// Numbers below the smallest normal one count, whatever the calling thread is set to.
class ExactSmallNumbers {
public:
#if defined(__x86_64__)
  ExactSmallNumbers() : before_(_mm_getcsr()) { _mm_setcsr(before_ & ~0x8040u); }
  ~ExactSmallNumbers() { _mm_setcsr(before_); }

private:
  unsigned before_;
#else
  ExactSmallNumbers() {}
#endif
};

constexpr int32_t UNKNOWN = -1, WANTED = -2;

class Search {
public:
  Search(const Path &path, const float *a, int64_t rows_a, int64_t width_a, const float *b, int64_t rows_b, int64_t width_b,
         int32_t D, int threads)
      : path_(path), threads_(threads), a_(path, a, rows_a, D, width_a, threads), b_(path, b, rows_b, D, width_b, threads),
        known_{std::vector<int32_t>(rows_a, UNKNOWN), std::vector<int32_t>(rows_b, UNKNOWN)} {}

  int64_t bad_row(bool of_b) const { return (of_b ? b_ : a_).bad_row(); }

  // Afterwards known(from_b)[k] holds the nearest of each k in `indices`.
  void look_up(const std::vector<int32_t> &indices, bool from_b) {
    std::vector<int32_t> &known = known_[from_b], wanted;
    for (const int32_t k : indices)
      if (known[k] == UNKNOWN) known[k] = WANTED, wanted.push_back(k);
    std::vector<int32_t> found(wanted.size());
    try {
      const Tiles &source = set(from_b), &database = set(!from_b);
      find_nearest(path_, source.source, database, wanted.data(), (int64_t)wanted.size(), found.data(), threads_);
    } catch (...) {
      for (const int32_t k : wanted) known[k] = UNKNOWN;
      throw;
    }
    for (size_t k = 0; k < wanted.size(); ++k) known[wanted[k]] = found[k];
  }

  const std::vector<int32_t> &known(bool from_b) const { return known_[from_b]; }

  // Walks in step: those at an end leave, the others go on.
  int64_t walk(std::vector<int32_t> at, bool from_b, int max_iterations, int64_t *here, int64_t *there) {
    std::vector<int32_t> previous(at.size(), -1), across, back;
    int64_t ends = 0;
    for (int iteration = 0; iteration < max_iterations && !at.empty(); ++iteration) {
      look_up(at, from_b);
      across.clear();
      size_t kept = 0;
      for (size_t k = 0; k < at.size(); ++k) {
        const int32_t q = known_[from_b][at[k]];
        if (q == previous[k])
          here[ends] = at[k], there[ends++] = q;
        else
          at[kept++] = at[k], across.push_back(q);
      }
      at.resize(kept);
      look_up(across, !from_b);
      kept = 0;
      for (size_t k = 0; k < at.size(); ++k) {
        const int32_t p = known_[!from_b][across[k]];
        if (p == at[k])
          here[ends] = p, there[ends++] = across[k];
        else
          previous[kept] = across[k], at[kept++] = p;
      }
      at.resize(kept);
      previous.resize(kept);
    }
    return ends;
  }

private:
  const Tiles &set(bool b) const { return (b ? b_ : a_).tiles(); }

  const Path &path_;
  int threads_;
  PackedSet a_, b_;
  std::vector<int32_t> known_[2];
};

} // namespace
} // namespace reciprocal_match

using namespace reciprocal_match;

#define PUBLIC __attribute__((visibility("default")))

extern "C" {

// Names of the paths this processor can run, the fastest first, separated by spaces; what is cut off does not fit into `size`.
PUBLIC void reciprocal_match_paths(char *names, int64_t size) { mast3r_kernels::write_names(usable_paths(), names, size); }

// A search between a (rows_a, D) and b (rows_b, D), which must stay where they are until it is closed; widths are those of the
// images, 0 when there is none. `path` is a name from above or empty. Null, with `why` set: 1 no such path here, 2 no memory,
// 3 or 4 row `bad_row` of a or b holds a component that is not finite or above 1e15.
PUBLIC void *reciprocal_match_open(const float *a, int64_t rows_a, int64_t width_a, const float *b, int64_t rows_b,
                                   int64_t width_b, int32_t D, const char *path_name, int32_t threads, int32_t *why,
                                   int64_t *bad_row) {
  const ExactSmallNumbers exact;
  const Path *path = mast3r_kernels::find_path(usable_paths(), path_name);
  *why = 1;
  if (!path) return nullptr;
  try {
    auto search = std::make_unique<Search>(*path, a, rows_a, width_a, b, rows_b, width_b, D, threads);
    for (const bool of_b : {false, true}) {
      *bad_row = search->bad_row(of_b);
      *why = of_b ? 4 : 3;
      if (*bad_row >= 0) return nullptr;
    }
    *why = 0;
    return search.release();
  } catch (...) {
    *why = 2;
    return nullptr;
  }
}

PUBLIC void reciprocal_match_close(void *search) { delete static_cast<Search *>(search); }

// nearest[k] = nearest in b of row indices[k] of a, or with from_b the other way round. 0, or 2 when there is no memory.
PUBLIC int32_t reciprocal_match_nearest(void *search, const int64_t *indices, int64_t count, int32_t from_b, int64_t *nearest) {
  const ExactSmallNumbers exact;
  try {
    auto &open = *static_cast<Search *>(search);
    open.look_up(std::vector<int32_t>(indices, indices + count), from_b);
    for (int64_t k = 0; k < count; ++k) nearest[k] = open.known(from_b)[indices[k]];
    return 0;
  } catch (...) {
    return 2;
  }
}

// Walk from `starts`, distinct rows of a, or of b with from_b: mutual pairs in here (count,) and there (count,). Their number, or
// -2 when there is no memory.
PUBLIC int64_t reciprocal_match_walk(void *search, const int64_t *starts, int64_t count, int32_t from_b, int32_t max_iterations,
                                     int64_t *here, int64_t *there) {
  const ExactSmallNumbers exact;
  try {
    auto &open = *static_cast<Search *>(search);
    return open.walk(std::vector<int32_t>(starts, starts + count), from_b, max_iterations, here, there);
  } catch (...) {
    return -2;
  }
}

} // extern "C"
