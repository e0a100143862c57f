#include "nearest.h"

#include <math.h>
#include <string.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "../parallel.h"

namespace reciprocal_match {
namespace {

constexpr double WORTH_IT = 0.8; // centers are asked while they leave fewer than this share of the tiles
constexpr int64_t TRY_AGAIN = 8; // and every so many blocks in any case

struct Pruning {
  std::atomic<int64_t> before{0}, after{0};
  bool pays() const { return (double)after < WORTH_IT * (double)before || before == 0; }
};

// Search of BLOCK queries. Every tile has an upper bound for every query and every query a lower bound on its best score. Centers
// give first upper bounds, coarse scores replace them where they are not yet below; exact scores are computed where even those
// are not, the most promising first.
class BlockSearch {
public:
  BlockSearch(const Path &path, const Tiles &database)
      : path_(path), database_(database), rows_(BLOCK * database.D), columns_(BLOCK * database.D),
        coarse_(BLOCK * (database.D + 3)), upper_(database.count * BLOCK), lower_(BLOCK), wide_(database.D), candidates_(BLOCK) {
    queries_.D = database.D;
    queries_.row = rows_.data();
    queries_.column = columns_.data();
    queries_.coarse = coarse_.data();
  }

  void search(const float *source, const int32_t *wanted, int count, int32_t *found, Pruning &pruning, bool ask_centers) {
    load(source, wanted, count);
    std::fill_n(lower_.data(), BLOCK, -INFINITY);
    std::fill_n(best_, BLOCK, Best{-INFINITY, 0});
    const uint64_t all = (uint64_t{1} << count) - 1;
    if (ask_centers) {
      path_.bound_by_center(database_, queries_, upper_.data(), seed_);
      for (int q = 0; q < count; ++q) rank(seed_[q], q);
      refine(all, &pruning);
    } else {
      std::fill_n(upper_.data(), database_.count * BLOCK, INFINITY);
      refine(all, nullptr);
    }
    collect(all);
    for (int q = 0; q < count; ++q) {
      decide(q);
      found[q] = (int32_t)best_[q].row;
    }
  }

private:
  void load(const float *source, const int32_t *wanted, int count) {
    const int32_t D = database_.D;
    for (int q = 0; q < BLOCK; ++q)
      memcpy(queries_.row + (int64_t)q * D, source + (int64_t)wanted[q < count ? q : 0] * D, D * sizeof(float));
    path_.pack_queries(queries_);
  }

  void refine(uint64_t all, Pruning *pruning) {
    int64_t after = 0;
    for (int64_t t = 0; t < database_.count; ++t) {
      float *upper = upper_.data() + t * BLOCK;
      uint64_t open = path_.select(upper, lower_.data()) & all;
      if (!open) continue;
      int32_t which[BLOCK];
      int count = 0;
      for (; open; open &= open - 1) which[count++] = __builtin_ctzll(open);
      path_.refine(database_, t, queries_, which, count, upper, lower_.data());
      after += count;
    }
    if (pruning) pruning->before += database_.count * __builtin_popcountll(all), pruning->after += after;
  }

  void collect(uint64_t all) {
    for (auto &list : candidates_) list.clear();
    for (int64_t t = 0; t < database_.count; ++t) {
      const float *upper = upper_.data() + t * BLOCK;
      for (uint64_t open = path_.select(upper, lower_.data()) & all; open; open &= open - 1) {
        const int q = __builtin_ctzll(open);
        candidates_[q].emplace_back(upper[q], (int32_t)t);
      }
    }
  }

  void decide(int q) {
    auto &list = candidates_[q];
    std::sort(list.begin(), list.end(), [](const auto &a, const auto &b) { return a.first > b.first; });
    for (const auto &[upper, t] : list) {
      if (upper < best_[q].score) break;
      rank(t, q);
    }
  }

  void rank(int64_t t, int q) {
    const float *row = queries_.row + (int64_t)q * database_.D;
    for (int32_t d = 0; d < database_.D; ++d) wide_[d] = row[d];
    path_.rank(database_, t, wide_.data(), best_[q]);
    lower_[q] = std::max(lower_[q], nextafterf((float)best_[q].score, -INFINITY));
  }

  const Path &path_;
  const Tiles &database_;
  Queries queries_;
  Buffer<float> rows_, columns_;
  Buffer<int8_t> coarse_;
  Buffer<float> upper_, lower_;
  Buffer<double> wide_;
  Best best_[BLOCK];
  int32_t seed_[BLOCK];
  std::vector<std::vector<std::pair<float, int32_t>>> candidates_;
};

} // namespace

void find_nearest(const Path &path, const float *source, const Tiles &database, const int32_t *wanted, int64_t count,
                  int32_t *found, int threads) {
  const int64_t blocks = (count + BLOCK - 1) / BLOCK;
  const int64_t parts = std::min<int64_t>(threads, blocks);
  std::atomic<int64_t> next{0};
  Pruning pruning;
  mast3r_kernels::run_in_parallel(threads, parts, [&](int64_t) {
    BlockSearch search(path, database);
    for (int64_t k = next++; k < blocks; k = next++) {
      const int size = (int)std::min<int64_t>(BLOCK, count - k * BLOCK);
      search.search(source, wanted + k * BLOCK, size, found + k * BLOCK, pruning, pruning.pays() || k % TRY_AGAIN == 0);
    }
  });
}

} // namespace reciprocal_match
