#include "mnist_data_module.h"

#include <algorithm>
#include <utility>

#include <torch/types.h>

#include <lightning/data/data_loader.h>
#include <lightning/data/idx_file.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

#include "drawn_digits.h"

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

lightning::Batch read_mnist(const fs::path& folder) {
  for (const std::string part : {"train", "t10k"}) {
    const fs::path images = find_file(folder, part + "-images-idx3-ubyte");
    const fs::path labels = find_file(folder, part + "-labels-idx1-ubyte");
    if (images.empty() || labels.empty()) continue;
    const at::Tensor pixels = lightning::read_idx(images);
    const at::Tensor classes = lightning::read_idx(labels);
    LIGHTNING_CHECK(pixels.dim() == 3 && classes.dim() == 1 && pixels.size(0) == classes.size(0),
                    DataError, "MnistDataModule: ", images.string(), " has the shape ",
                    pixels.sizes(), " and ", labels.string(), " has ", classes.sizes(),
                    ", expected [N, 28, 28] and [N].");
    return lightning::Batch(
        {{"image", pixels.to(torch::kFloat32).div_(255)}, {"label", classes.to(torch::kInt64)}});
  }
  throw lightning::DataError(
      "MnistDataModule: data_dir is \"" + folder.string() +
      "\" and holds no MNIST files, expected train-images-idx3-ubyte and train-labels-idx1-ubyte "
      "(or the t10k- pair), each also as .gz. HINT: leave data_dir empty to use drawn digits.");
}

}  // namespace

MnistDataModule::MnistDataModule(Options options) : options_(std::move(options)) {
  save_hyperparameters(options_);
}

void MnistDataModule::setup(lightning::Stage) {
  if (train_ != nullptr) return;
  lightning::Batch all;
  if (options_.data_dir.empty()) {
    lightning::log_info(
        "MnistDataModule: data_dir is empty, training on digits drawn by the program.");
    all = draw_digits(/*count=*/12000, options_.split_seed);
  } else {
    all = read_mnist(options_.data_dir);
  }
  const auto images = std::make_shared<lightning::TensorDataset>(all);
  const int64_t val_size = std::min(options_.val_size, images->size() / 10);
  auto parts =
      lightning::random_split(images, {images->size() - val_size, val_size}, options_.split_seed);
  train_ = parts[0];
  val_ = parts[1];
}

lightning::DataLoaders MnistDataModule::make_loader(const std::shared_ptr<lightning::Dataset>& part,
                                                    bool shuffle) {
  return std::make_shared<lightning::DataLoader>(
      part, lightning::DataLoaderOptions{.batch_size = options_.batch_size,
                                         .shuffle = shuffle,
                                         .num_workers = options_.num_workers});
}

lightning::DataLoaders MnistDataModule::train_dataloader() {
  return make_loader(train_, /*shuffle=*/true);
}

lightning::DataLoaders MnistDataModule::val_dataloader() {
  return make_loader(val_, /*shuffle=*/false);
}
