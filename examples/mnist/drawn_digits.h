/// Digits drawn by the program, for machines without MNIST.
#pragma once

#include <cstdint>

#include <lightning/data/batch.h>

namespace mnist {

/// {"image": [count, 28, 28] float in [0, 1], "label": [count] int64}: seven-segment digits with
/// random place, size, slant, stroke and noise. The same arguments draw the same digits.
lightning::Batch draw_digits(int64_t count, uint64_t seed);

}  // namespace mnist
