#include "examples/mnist/drawn_digits.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <torch/types.h>

#include <lightning/util/random.h>

namespace mnist {
namespace {

constexpr int kSize = 28;

struct Segment {
  float x0, y0, x1, y1;  // in a box of width 1 and height 2
};

constexpr std::array<Segment, 7> kSegments = {{{0, 0, 1, 0},
                                               {1, 0, 1, 1},
                                               {1, 1, 1, 2},
                                               {0, 2, 1, 2},
                                               {0, 1, 0, 2},
                                               {0, 0, 0, 1},
                                               {0, 1, 1, 1}}};

// Bit i: segment i is lit.
constexpr std::array<unsigned, 10> kLit = {0x3F, 0x06, 0x5B, 0x4F, 0x66,
                                           0x6D, 0x7D, 0x07, 0x7F, 0x6F};

/// Distance of a point from a segment.
float distance(float x, float y, const Segment& s) {
  const float dx = s.x1 - s.x0;
  const float dy = s.y1 - s.y0;
  const float t = std::clamp(((x - s.x0) * dx + (y - s.y0) * dy) / (dx * dx + dy * dy), 0.0F, 1.0F);
  return std::hypot(x - s.x0 - t * dx, y - s.y0 - t * dy);
}

void draw_digit(int digit, lightning::Random& random, float* pixels) {
  const auto between = [&random](double low, double high) {
    return static_cast<float>(low + (high - low) * random.uniform());
  };
  const float scale = between(7.0, 9.5);
  const float left = between(7.0, 11.0);
  const float top = between(3.0, 6.0);
  const float slant = between(-0.25, 0.25);
  const float stroke = between(0.09, 0.17);
  for (int row = 0; row < kSize; ++row) {
    for (int column = 0; column < kSize; ++column) {
      const float y = (static_cast<float>(row) - top) / scale;
      const float x = (static_cast<float>(column) - left) / scale + slant * (y - 1.0F);
      float nearest = 10.0F;
      for (size_t i = 0; i < kSegments.size(); ++i) {
        const bool lit = (kLit[static_cast<size_t>(digit)] >> i & 1U) != 0;
        if (lit) nearest = std::min(nearest, distance(x, y, kSegments[i]));
      }
      const float ink = std::clamp(1.5F - nearest / stroke, 0.0F, 1.0F);
      pixels[row * kSize + column] = std::clamp(ink + between(-0.05, 0.05), 0.0F, 1.0F);
    }
  }
}

}  // namespace

lightning::Batch draw_digits(int64_t count, uint64_t seed) {
  torch::Tensor images = torch::empty({count, kSize, kSize});
  torch::Tensor labels = torch::empty({count}, torch::kInt64);
  lightning::Random random(seed);
  for (int64_t i = 0; i < count; ++i) {
    const auto digit = static_cast<int>(random.below(10));
    labels.data_ptr<int64_t>()[i] = digit;
    draw_digit(digit, random, images.data_ptr<float>() + i * kSize * kSize);
  }
  return lightning::Batch({{"image", images}, {"label", labels}});
}

}  // namespace mnist
