/// SquadDataModule: SQuAD files as loaders for training, validation, test and prediction.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include <lightning/config/fields.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/data/data_loader.h>

#include "squad_dataset.h"
#include "squad_features.h"
#include "wordpiece.h"

namespace bert_squad {

/// What is done with questions that have no answer.
enum class Unanswerable { kKeep, kDrop };
LIGHTNING_ENUM(Unanswerable, LIGHTNING_ENUMERATOR(kKeep, "keep"),
               LIGHTNING_ENUMERATOR(kDrop, "drop"))

/// What batches are padded to.
enum class Padding { kBatch, kLongest };
LIGHTNING_ENUM(Padding, LIGHTNING_ENUMERATOR(kBatch, "batch"),
               LIGHTNING_ENUMERATOR(kLongest, "longest"))

struct SquadDataModuleOptions {
  std::filesystem::path train_file = "";
  std::filesystem::path val_file = "";
  std::filesystem::path test_file = "";
  std::filesystem::path predict_file = "";
  int64_t batch_size = 8;
  std::optional<int64_t> global_batch_size = std::nullopt;
  int64_t max_seq_length = 384;
  int64_t doc_stride = 128;
  int64_t num_workers = 1;
  Unanswerable unanswerable = Unanswerable::kKeep;
  OnBadExample on_bad_example = OnBadExample::kError;
  FeatureLayout layout = FeatureLayout::kWindows;
  Padding padding = Padding::kBatch;
  bool length_grouped = true;
};

LIGHTNING_FIELDS(
    SquadDataModuleOptions, LIGHTNING_FIELD(train_file, "SQuAD file to train on"),
    LIGHTNING_FIELD(val_file, "SQuAD file to validate on"),
    LIGHTNING_FIELD(test_file, "SQuAD file to test on; empty: val_file"),
    LIGHTNING_FIELD(predict_file, "file in SQuAD's format whose questions predict answers"),
    LIGHTNING_FIELD(batch_size, "windows per batch of each rank"),
    LIGHTNING_FIELD(global_batch_size,
                    "windows per batch of all ranks together; null: batch_size on each"),
    LIGHTNING_FIELD(max_seq_length, "tokens of a window, question and context"),
    LIGHTNING_FIELD(doc_stride, "context tokens that neighbouring windows share"),
    LIGHTNING_FIELD(num_workers, "threads that make batches ahead"),
    LIGHTNING_FIELD(unanswerable, "keep or drop questions without an answer"),
    LIGHTNING_FIELD(on_bad_example,
                    "bad questions and answers of a file: error, or skip, which leaves them out"),
    LIGHTNING_FIELD(layout, "windows, or context_first as in the course's baseline"),
    LIGHTNING_FIELD(padding, "pad each batch to its own longest, or all to the longest of the set"),
    LIGHTNING_FIELD(length_grouped, "put windows of like length into one batch"))

/// Needs a SquadModule under the same Trainer: its tokenizer makes the features.
class SquadDataModule : public lightning::LightningDataModule {
 public:
  using Options = SquadDataModuleOptions;
  explicit SquadDataModule(Options options);

  void setup(lightning::Stage stage) override;
  lightning::DataLoaders train_dataloader() override;
  lightning::DataLoaders val_dataloader() override;
  lightning::DataLoaders test_dataloader() override;
  lightning::DataLoaders predict_dataloader() override;

  FeatureOptions feature_options() const;

 private:
  std::shared_ptr<SquadDataset> make_dataset(const std::filesystem::path& file, const char* key,
                                             AnswerUse answers) const;
  lightning::DataLoaderOptions loader_options() const;

  Options options_;
  std::shared_ptr<SquadDataset> train_;
  std::shared_ptr<SquadDataset> val_;
  std::shared_ptr<SquadDataset> test_;
  std::shared_ptr<SquadDataset> predict_;
};

}  // namespace bert_squad
