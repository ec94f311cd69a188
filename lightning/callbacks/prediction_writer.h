/// PredictionWriter: writes what predict_step() gives, per batch or in order of the data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

class SafetensorsFile;

/// All outputs of a pass, of all ranks, in order of the data. They lie on the disk: one batch at a
/// time is in memory.
class LIGHTNING_API Predictions {
 public:
  /// `spools`: the folder of each rank, by rank. Throws CheckpointError for a broken file,
  /// DataError for a folder that isn't there.
  explicit Predictions(std::vector<std::filesystem::path> spools);
  ~Predictions();
  Predictions(const Predictions&) = delete;
  Predictions& operator=(const Predictions&) = delete;

  /// Batches of all ranks together (global batches), over all loaders.
  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  /// The outputs for a global batch, on the host, with its dataloader_idx(). With several ranks row
  /// i is of rank i % ranks: the order of the data. Throws DataError when outputs don't have a row
  /// for each sample then.
  Batch read(int64_t index) const;

 private:
  using Place = std::pair<int64_t, int64_t>;  // loader, batch in it
  struct Entry {
    std::vector<std::string> names;
    std::map<std::string, std::vector<std::filesystem::path>> files;  // by name, then by rank
  };

  void add_file(size_t rank, const std::filesystem::path& file);
  at::Tensor read_part(const std::filesystem::path& file, const std::string& name) const;
  at::Tensor interleave(const std::string& name, const std::vector<at::Tensor>& parts) const;

  std::vector<std::filesystem::path> spools_;
  std::map<Place, Entry> batches_;
  std::vector<const std::pair<const Place, Entry>*> order_;  // of batches_
  mutable std::map<std::filesystem::path, std::unique_ptr<SafetensorsFile>> open_;
};

enum class WriteInterval { kBatch, kEpoch, kBatchAndEpoch };

LIGHTNING_ENUM(WriteInterval, LIGHTNING_ENUMERATOR(kBatch, "batch"),
               LIGHTNING_ENUMERATOR(kEpoch, "epoch"),
               LIGHTNING_ENUMERATOR(kBatchAndEpoch, "batch_and_epoch"))

struct PredictionWriterOptions {
  /// Folder; empty: predictions/ in the run's folder. With several machines all must see it for
  /// `epoch`.
  std::filesystem::path dirpath = "";
  WriteInterval write_interval = WriteInterval::kBatch;
  /// Outputs that are kept in host memory, and the size of a file of them; MiB, >= 1.
  int64_t buffer_mib = 64;
};

LIGHTNING_FIELDS(PredictionWriterOptions,
                 LIGHTNING_FIELD(dirpath, "folder; empty: predictions/ in the run's folder"),
                 LIGHTNING_FIELD(write_interval, "batch, epoch or batch_and_epoch"),
                 LIGHTNING_FIELD(buffer_mib, "MiB of outputs kept in memory, and of a file"))

/// With `batch` each rank writes its own batches, with `epoch` rank 0 all of them in order of the
/// data, after the last. Until then each rank keeps its outputs in a folder below `dirpath`, in
/// files of `buffer_mib`, so that memory stays bounded. Before a pass the files that an earlier one
/// wrote are removed: regular files with the names that `write_interval` gives, never links or
/// others. Subclasses override how either is written.
/// Sync: outputs are copied to the host, batch by batch.
class LIGHTNING_API PredictionWriter : public Callback {
 public:
  using Options = PredictionWriterOptions;
  /// Throws ConfigError for values out of range.
  explicit PredictionWriter(PredictionWriterOptions options = {});
  ~PredictionWriter() override;

  /// Of the pass that runs or ran last.
  const std::filesystem::path& folder() const { return folder_; }
  /// Whether write_on_epoch_end() is called. With several ranks each must then load its own part of
  /// the data: predict() throws ConfigError with use_distributed_sampler false.
  bool writes_epochs() const { return options_.write_interval != WriteInterval::kBatch; }

  /// On every rank. The default writes dataloader_idx=L-batch_idx=K.safetensors, with several ranks
  /// ...-rank=R.safetensors.
  virtual void write_on_batch_end(TrainerContext& trainer, LightningModule& module,
                                  const Batch& outputs, const Batch& batch, int64_t batch_idx);
  /// On rank 0; the others wait. The default writes predictions-00000.safetensors and so on, with
  /// the outputs joined along their first dimension.
  virtual void write_on_epoch_end(TrainerContext& trainer, LightningModule& module,
                                  const Predictions& predictions);

  void on_predict_start(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& outputs,
                            const Batch& batch, int64_t batch_idx) override;
  void on_predict_epoch_end(TrainerContext& trainer, LightningModule& module) override;

 private:
  using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

  bool writes_batches() const { return options_.write_interval != WriteInterval::kEpoch; }
  int64_t buffer_bytes() const { return options_.buffer_mib << 20; }
  std::filesystem::path spool_of(int64_t rank) const;
  void remove_earlier_files() const;
  void spool(const Batch& outputs, const Batch& batch, int64_t batch_idx);
  void flush();
  void write_part(int64_t part, const std::map<std::string, std::vector<at::Tensor>>& joined) const;

  PredictionWriterOptions options_;
  std::filesystem::path folder_;
  int64_t rank_ = 0;
  NamedTensors buffer_;
  int64_t buffered_bytes_ = 0;
  int64_t num_files_ = 0;
};

}  // namespace lightning
