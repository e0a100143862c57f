// AVX2. Wider vectors would not pay: memory is the limit.
#include "rotate_path.h"

namespace rope {
const Path AVX2 = {"avx2", rotate<Float32>, rotate<Bfloat16>};
}
