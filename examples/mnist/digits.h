/// MNIST from a folder of IDX files, gzipped or not; without a folder, digits that are drawn here.
/// All are {"image": [N, 28, 28] float in [0, 1], "label": [N] int64}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include <lightning/data/batch.h>
#include <lightning/data/dataset.h>

namespace mnist {

/// The training images, or the t10k ones of a folder that has only them. An empty path draws 12,000
/// with that seed. Throws DataError for a folder without either, and for damaged files.
lightning::Batch read_digits(const std::filesystem::path& folder, uint64_t seed);

/// The t10k images of a folder that has the training images too.
std::optional<lightning::Batch> read_test_digits(const std::filesystem::path& folder);

struct DigitSets {
  std::shared_ptr<lightning::Dataset> train;
  std::shared_ptr<lightning::Dataset> test;
};

/// Training and t10k images; of a folder that has only the latter, or of drawn ones, a tenth is the
/// test set. Throws like read_digits().
DigitSets read_digit_sets(const std::filesystem::path& folder, uint64_t seed);

}  // namespace mnist
