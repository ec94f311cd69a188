/// CombinedLoader: several loaders as one. A batch of it has the batches of its parts side by side,
/// their tensors named `part/field`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/data/batch_source.h>
#include <lightning/util/export.h>

namespace lightning {

/// How many combined batches an epoch has.
enum class CombineMode {
  kMaxSizeCycle,  // as many as the longest part; the others begin again meanwhile
  kMinSize,       // as many as the shortest part
  kMaxSize,       // as many as the longest part; tensors of those that are over are absent
  kSequential,    // the parts one after the other, their batches as they are
};
LIGHTNING_ENUM(CombineMode, LIGHTNING_ENUMERATOR(kMaxSizeCycle, "max_size_cycle"),
               LIGHTNING_ENUMERATOR(kMinSize, "min_size"),
               LIGHTNING_ENUMERATOR(kMaxSize, "max_size"),
               LIGHTNING_ENUMERATOR(kSequential, "sequential"))

/// Each part is sharded, shuffled and saved as if it were alone: the combination has no order of
/// its own, and resumes when each part can.
///
/// Of a combined batch
///   batch_size()   is that of its first part that is there: it weighs what is logged
///   rank_weight()  is that of the first part in which this rank has samples. It is exact for all
///                  of them when each part's last batches are full (drop_last)
///   payload        is a std::vector<std::any> with one for each part, when any part has one
/// A part that begins again in the middle of an epoch draws a new order: its pass p (from 0) in
/// epoch e is its own epoch e + 1,000,000 p.
class LIGHTNING_API CombinedLoader final : public BatchSource {
 public:
  /// A part's name, in front of its tensors' names, and its source.
  using Part = std::pair<std::string, std::shared_ptr<BatchSource>>;
  using Parts = std::vector<Part>;

  /// Throws ConfigError without parts, and for a null source, one that is there twice, an empty
  /// name, one with a slash or that is there twice, and a sequential combination as a part.
  explicit CombinedLoader(Parts parts, CombineMode mode = CombineMode::kMaxSizeCycle);
  /// The parts are named 0, 1, ...
  explicit CombinedLoader(const DataLoaders& loaders,
                          CombineMode mode = CombineMode::kMaxSizeCycle);
  ~CombinedLoader() override;

  CombineMode mode() const { return mode_; }
  size_t size() const { return parts_.size(); }
  const std::shared_ptr<BatchSource>& source(size_t part) const { return parts_[part].source; }

  /// Nothing when the length of any part is unknown.
  std::optional<int64_t> num_batches() const override;
  /// That of the first part.
  int64_t batch_size() const override;
  void begin_epoch(int64_t epoch) override;
  /// DataError when a part gives nothing in a whole pass. A worker's exception is thrown here; the
  /// batches that the parts before it had given are lost then.
  std::optional<Batch> next() override;
  bool exhausted() override;
  int64_t batches_delivered() const override { return delivered_; }

  /// The position of each part. CheckpointError for other parts or another mode.
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  void set_shard(const DataShard& shard) override;
  /// Nothing: the parts have different sizes.
  std::optional<ShardSize> shard_size(const DataShard& shard,
                                      std::optional<int64_t> limit = std::nullopt) const override;
  void set_default_pin_memory(bool pin) override;
  void set_fixed_order(bool fixed) override;
  bool has_own_order() const override;
  std::shared_ptr<BatchSource> copy() const override;
  /// Throws ConfigError that names a part without batches.
  void check() const override;
  std::string why_no_batches() const override;

 private:
  struct PartState {
    std::string name;
    std::shared_ptr<BatchSource> source;
    int64_t pass = 0;    // of this epoch
    int64_t served = 0;  // global batches of that pass
    bool begun = false;  // the pass
  };

  void begin_pass(PartState& part, int64_t pass);
  /// Whether the present pass has no more batches.
  bool at_end(PartState& part);
  /// The next batch of the present pass; nothing where this rank has no part of it.
  std::optional<Batch> take(PartState& part);
  std::optional<Batch> next_combined();
  std::optional<Batch> next_in_sequence();
  void load_part(PartState& part, const StateDict& state);

  CombineMode mode_;
  std::vector<PartState> parts_;
  int64_t epoch_ = 0;
  int64_t delivered_ = 0;
  bool begun_ = false;
};

}  // namespace lightning
