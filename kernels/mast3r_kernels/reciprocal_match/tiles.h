// A set of descriptors, packed for search, and the table of functions that each instruction set fills in.
//
// A set is cut into tiles of 64 rows (8x8 pixels where the image's width is known), because neighbouring descriptors are alike:
// one bound for the whole tile often rules it out. Bounds are rigorous: they hold for the exact score, rounding included.
//
// This header is included by files compiled for different instruction sets: nothing inline may stand in it.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace reciprocal_match {

constexpr int TILE = 64;         // rows of a tile
constexpr int BLOCK = 48;        // queries searched together
constexpr float LARGEST = 1e15f; // greatest component allowed: products of two sums of them stay inside float32

struct Tiles {
  const float *source; // (rows, D), the caller's
  int64_t rows;
  int32_t D;
  int64_t count;        // tiles
  int64_t coarse_bytes; // of one tile
  int32_t *index;       // (count, TILE) row of each place; the places left over in a tile repeat its first row
  float *fine;          // (count, D, TILE) components
  uint8_t *coarse;      // (count, coarse_bytes) 8-bit components, where the instruction set wants them
  float *center;        // (count, D) unit vector c near the tile's rows b
  float *low;           // (count,) least b.c
  float *high;          // (count,) greatest b.c
  float *radius;        // (count,) greatest |b - (b.c) c|
  float *longest;       // (count,) greatest |b|
  float *scale;         // (count,) what one unit of the coarse score is worth, for a query of scale 1
  float *error;         // (count,) greatest error of coarse scores, for a query of length 1
};

// BLOCK queries, one component array or number for each; unused places repeat the first query.
struct Queries {
  int32_t D;
  float *row;                      // (BLOCK, D) as given
  float *column;                   // (D, BLOCK) the same, turned round
  int8_t *coarse;                  // (BLOCK, 4 * ceil(D / 4)) 8-bit components
  alignas(64) float square[BLOCK]; // |q|^2
  float length[BLOCK];             // |q|, not below the true one
  float scale[BLOCK];              // what one unit of the coarse components is worth
  float error[BLOCK];              // |q - its coarse version|
  int32_t offset[BLOCK];           // to subtract from coarse scores
};

struct Best {
  double score;
  int64_t row;
};

struct Path {
  const char *name;
  int64_t (*coarse_bytes)(int32_t D);
  // Fill everything of tile t but `index`; false when a component is not finite or above LARGEST.
  bool (*pack_tile)(const Tiles &, int64_t t);
  // Fill everything but `row`.
  void (*pack_queries)(Queries &);
  // upper (count, BLOCK): bound on the score of any row of each tile, from the tile's center alone; seed (BLOCK,): tile of the
  // greatest bound.
  void (*bound_by_center)(const Tiles &, const Queries &, float *upper, int32_t *seed);
  // Which queries a tile may still matter to: bit q is upper[q] >= lower[q].
  uint64_t (*select)(const float *upper, const float *lower);
  // Coarse scores of tile t for `count` queries: replaces their upper bounds, raises their lower bounds.
  void (*refine)(const Tiles &, int64_t t, const Queries &, const int32_t *which, int count, float *upper, float *lower);
  // Exact scores of tile t for a query in float64: keeps the greatest, of equals the lowest row.
  void (*rank)(const Tiles &, int64_t t, const double *query, Best &);
};

extern const Path GENERIC;
#if defined(__x86_64__)
extern const Path AVX2;
extern const Path AVX512;
extern const Path AVX512_VNNI;
#endif

} // namespace reciprocal_match
