// AVX2 with fused multiply-add.
#include <immintrin.h>
#define LANES 8
#include "float_path.h"

namespace reciprocal_match {
const Path AVX2 = {"avx2", no_coarse_bytes, pack_float_tile, pack_float_queries, bound_by_center, select, float_refine, rank};
}
