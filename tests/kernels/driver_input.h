// How the drivers read their numbers from standard input.
#pragma once

#include <stdint.h>
#include <stdio.h>

#include <vector>

template <typename T> std::vector<T> read_numbers(int64_t count) {
  std::vector<T> numbers(count);
  if ((int64_t)fread(numbers.data(), sizeof(T), count, stdin) != count) throw 1;
  return numbers;
}

template <typename T> void write_numbers(const std::vector<T> &numbers) {
  fwrite(numbers.data(), sizeof(T), numbers.size(), stdout);
}
