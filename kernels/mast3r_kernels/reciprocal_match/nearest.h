// Nearest rows of a packed set for many queries.
#pragma once

#include "packed_set.h"

namespace reciprocal_match {

// found[k] = row of `database` with the greatest score for row wanted[k] of `source` (rows of D), the lowest row of equals.
void find_nearest(const Path &, const float *source, const Tiles &database, const int32_t *wanted, int64_t count, int32_t *found,
                  int threads);

} // namespace reciprocal_match
