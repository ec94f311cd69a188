#include "mnist_data_module.h"

#include <algorithm>
#include <utility>

#include <lightning/data/data_loader.h>
#include <lightning/data/dataset.h>

#include "examples/mnist/digits.h"

MnistDataModule::MnistDataModule(Options options) : options_(std::move(options)) {
  save_hyperparameters(options_);
}

void MnistDataModule::setup(lightning::Stage) {
  if (train_ != nullptr) return;
  const auto images = std::make_shared<lightning::TensorDataset>(
      mnist::read_digits(options_.data_dir, options_.split_seed));
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
