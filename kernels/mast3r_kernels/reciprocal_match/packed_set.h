// A set of descriptors cut into tiles and packed, with its memory.
#pragma once

#include <stdlib.h>

#include <new>

#include "tiles.h"

namespace reciprocal_match {

// 64-byte aligned memory, freed with its owner.
template <typename T> class Buffer {
public:
  explicit Buffer(int64_t size) : data_(nullptr) {
    if (size > 0 && posix_memalign((void **)&data_, 64, size * sizeof(T))) throw std::bad_alloc();
  }
  ~Buffer() { free(data_); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  T *data() { return data_; }
  T &operator[](int64_t k) { return data_[k]; }

private:
  T *data_;
};

class PackedSet {
public:
  // `width`: the image's, so that tiles are 8x8 pixels; 0 when the rows are no image.
  PackedSet(const Path &, const float *source, int64_t rows, int32_t D, int64_t width, int threads);
  const Tiles &tiles() const { return tiles_; }
  int64_t bad_row() const { return bad_row_; } // first row with a component that cannot be used, or -1

private:
  Tiles tiles_;
  Buffer<int32_t> index_;
  Buffer<float> fine_;
  Buffer<uint8_t> coarse_;
  Buffer<float> center_, numbers_;
  int64_t bad_row_;
};

} // namespace reciprocal_match
