/// SquadDataset: features as batches, padded to the longest of the batch or to one length.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <lightning/data/dataset.h>

#include "squad_features.h"

namespace bert_squad {

/// The payload of a batch: which features its rows are.
struct SquadRows {
  std::shared_ptr<const SquadFeatures> features;
  std::vector<int64_t> rows;
  /// How many of them are of questions whose answers have no known place: no loss counts them.
  int64_t num_without_place = 0;
};

/// Batches, T the longest length: input_ids, token_type_ids, attention_mask [B, T] int64,
/// start_positions and end_positions [B] int64; payload SquadRows.
class SquadDataset : public lightning::Dataset {
 public:
  /// `pad_to`: every batch gets this length; 0: each its own.
  SquadDataset(std::shared_ptr<const SquadFeatures> features, int64_t pad_id, int64_t pad_to = 0);

  int64_t size() const override;
  lightning::Batch get_batch(std::span<const int64_t> indices,
                             std::span<lightning::SampleContext> contexts) override;
  /// Of each feature, for the LengthGroupedSampler.
  std::vector<int64_t> lengths() const;

 private:
  std::shared_ptr<const SquadFeatures> features_;
  int64_t pad_id_;
  int64_t pad_to_;
};

}  // namespace bert_squad
