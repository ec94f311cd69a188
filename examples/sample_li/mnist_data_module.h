/// MNIST from a folder of IDX files, gzipped or not; without them, digits that are drawn here.
#pragma once

#include <filesystem>

#include <lightning/config/fields.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/data/batch.h>

struct MnistDataModuleOptions {
  /// Folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (or the t10k- pair alone),
  /// each also as .gz. Empty: digits drawn by the program.
  std::filesystem::path data_dir = "";
  int64_t batch_size = 32;
  int64_t num_workers = 0;
  /// Images held out for validation; at most a tenth of them.
  int64_t val_size = 5000;
  /// Of the split.
  uint64_t split_seed = 42;
};
LIGHTNING_FIELDS(MnistDataModuleOptions,
                 LIGHTNING_FIELD(data_dir, "folder of MNIST's IDX files; empty: drawn digits"),
                 LIGHTNING_FIELD(batch_size, "images per batch"),
                 LIGHTNING_FIELD(num_workers, "threads that make batches ahead"),
                 LIGHTNING_FIELD(val_size, "images held out for validation, at most a tenth"),
                 LIGHTNING_FIELD(split_seed, "seed of the split"))

/// Batches {"image": [B, 28, 28] float in [0, 1], "label": [B] int64}.
class MnistDataModule : public lightning::LightningDataModule {
 public:
  using Options = MnistDataModuleOptions;
  explicit MnistDataModule(Options options);

  void setup(lightning::Stage stage) override;
  lightning::DataLoaders train_dataloader() override;
  lightning::DataLoaders val_dataloader() override;
  /// The t10k- pair, when it isn't trained on; else the images held out for validation.
  lightning::DataLoaders test_dataloader() override;
  /// The same images.
  lightning::DataLoaders predict_dataloader() override { return test_dataloader(); }

 private:
  void split_training_images();
  std::shared_ptr<lightning::Dataset> make_test_images();
  lightning::DataLoaders make_loader(const std::shared_ptr<lightning::Dataset>& part, bool shuffle);

  Options options_;
  std::shared_ptr<lightning::Dataset> train_;
  std::shared_ptr<lightning::Dataset> val_;
  std::shared_ptr<lightning::Dataset> test_;
};
