#include "mnist_data_module.h"

#include <algorithm>
#include <utility>

#include <lightning/data/data_loader.h>
#include <lightning/data/dataset.h>
#include <lightning/util/log.h>

#include "examples/mnist/digits.h"

MnistDataModule::MnistDataModule(Options options) : options_(std::move(options)) {
  save_hyperparameters(options_);
}

void MnistDataModule::setup(lightning::Stage stage) {
  const bool tests = stage == lightning::Stage::kTest || stage == lightning::Stage::kPredict;
  if ((tests ? test_ : train_) != nullptr) return;
  if (tests) {
    test_ = make_test_images();
  } else {
    split_training_images();
  }
}

void MnistDataModule::split_training_images() {
  const auto images = std::make_shared<lightning::TensorDataset>(
      mnist::read_digits(options_.data_dir, options_.split_seed));
  const int64_t val_size = std::min(options_.val_size, images->size() / 10);
  auto parts =
      lightning::random_split(images, {images->size() - val_size, val_size}, options_.split_seed);
  train_ = parts[0];
  val_ = parts[1];
}

std::shared_ptr<lightning::Dataset> MnistDataModule::make_test_images() {
  if (options_.data_dir.empty()) {
    return std::make_shared<lightning::TensorDataset>(
        mnist::read_digits({}, options_.split_seed + 1));
  }
  if (auto images = mnist::read_test_digits(options_.data_dir)) {
    return std::make_shared<lightning::TensorDataset>(*std::move(images));
  }
  lightning::log_info("MnistDataModule: " + options_.data_dir.string() +
                      " has no other test images than those held out for validation.");
  if (val_ == nullptr) split_training_images();
  return val_;
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

lightning::DataLoaders MnistDataModule::test_dataloader() {
  return make_loader(test_, /*shuffle=*/false);
}
