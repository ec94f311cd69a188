#include "examples/mnist/digits.h"

#include <optional>
#include <string>

#include <torch/types.h>

#include <lightning/data/idx_file.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

#include "examples/mnist/drawn_digits.h"

namespace mnist {
namespace {

namespace fs = std::filesystem;

/// The file of that name, as it is or gzipped; empty when there is neither.
fs::path find_file(const fs::path& folder, const std::string& name) {
  for (const char* ending : {"", ".gz"}) {
    const fs::path path = folder / (name + ending);
    if (fs::exists(path)) return path;
  }
  return {};
}

/// The images of "train" or "t10k", if the folder has them.
std::optional<lightning::Batch> read_part(const fs::path& folder, const std::string& part) {
  const fs::path images = find_file(folder, part + "-images-idx3-ubyte");
  const fs::path labels = find_file(folder, part + "-labels-idx1-ubyte");
  if (images.empty() || labels.empty()) return std::nullopt;
  const at::Tensor pixels = lightning::read_idx(images);
  const at::Tensor classes = lightning::read_idx(labels);
  LIGHTNING_CHECK(pixels.dim() == 3 && classes.dim() == 1 && pixels.size(0) == classes.size(0),
                  DataError, "MNIST: ", images.string(), " has the shape ", pixels.sizes(), " and ",
                  labels.string(), " has ", classes.sizes(), ", expected [N, 28, 28] and [N].");
  return lightning::Batch(
      {{"image", pixels.to(torch::kFloat32).div_(255)}, {"label", classes.to(torch::kInt64)}});
}

}  // namespace

lightning::Batch read_digits(const fs::path& folder, uint64_t seed) {
  if (folder.empty()) {
    lightning::log_info("MNIST: data_dir is empty, taking digits drawn by the program.");
    return draw_digits(/*count=*/12000, seed);
  }
  for (const char* part : {"train", "t10k"}) {
    if (auto digits = read_part(folder, part)) return *std::move(digits);
  }
  throw lightning::DataError(
      "MNIST: data_dir is \"" + folder.string() +
      "\" and holds no MNIST files, expected train-images-idx3-ubyte and train-labels-idx1-ubyte "
      "(or the t10k- pair), each also as .gz. HINT: leave data_dir empty to use drawn digits.");
}

std::optional<lightning::Batch> read_test_digits(const fs::path& folder) {
  return read_part(folder, "train") ? read_part(folder, "t10k") : std::nullopt;
}

DigitSets read_digit_sets(const fs::path& folder, uint64_t seed) {
  if (!folder.empty()) {
    auto train = read_part(folder, "train");
    auto test = read_part(folder, "t10k");
    if (train && test) {
      return {std::make_shared<lightning::TensorDataset>(*std::move(train)),
              std::make_shared<lightning::TensorDataset>(*std::move(test))};
    }
  }
  const auto all = std::make_shared<lightning::TensorDataset>(read_digits(folder, seed));
  const int64_t test_size = all->size() / 10;
  lightning::log_info(lightning::detail::concat("MNIST: ", test_size, " of ", all->size(),
                                                " images are the test set."));
  auto parts = lightning::random_split(all, {all->size() - test_size, test_size}, seed);
  return {parts[0], parts[1]};
}

}  // namespace mnist
