// AVX-512.
#define LANES 8
#include "chunk_path.h"

namespace normal_equations {
const Path AVX512 = {"avx512", add_chunk<8>, add_chunk<12>};
}
