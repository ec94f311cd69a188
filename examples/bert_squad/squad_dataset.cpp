#include "squad_dataset.h"

#include <algorithm>
#include <utility>

#include <torch/types.h>

namespace bert_squad {

SquadDataset::SquadDataset(std::shared_ptr<const SquadFeatures> features, int64_t pad_id,
                           int64_t pad_to)
    : features_(std::move(features)), pad_id_(pad_id), pad_to_(pad_to) {}

int64_t SquadDataset::size() const { return static_cast<int64_t>(features_->features.size()); }

lightning::Batch SquadDataset::get_batch(std::span<const int64_t> indices,
                                         std::span<lightning::SampleContext>) {
  const auto batch_size = static_cast<int64_t>(indices.size());
  int64_t length = pad_to_;
  for (const int64_t index : indices) {
    length = std::max(length, features_->features[static_cast<size_t>(index)].length());
  }
  const auto options = torch::TensorOptions(torch::kInt64);
  torch::Tensor ids = torch::full({batch_size, length}, pad_id_, options);
  torch::Tensor types = torch::zeros({batch_size, length}, options);
  torch::Tensor mask = torch::zeros({batch_size, length}, options);
  torch::Tensor starts = torch::empty({batch_size}, options);
  torch::Tensor ends = torch::empty({batch_size}, options);
  SquadRows rows{features_, {indices.begin(), indices.end()}};
  for (int64_t row = 0; row < batch_size; ++row) {
    const Feature& feature =
        features_->features[static_cast<size_t>(indices[static_cast<size_t>(row)])];
    const int64_t begin = row * length;
    std::copy(feature.ids.begin(), feature.ids.end(), ids.data_ptr<int64_t>() + begin);
    std::fill(types.data_ptr<int64_t>() + begin + feature.second_begin,
              types.data_ptr<int64_t>() + begin + feature.length(), int64_t{1});
    std::fill_n(mask.data_ptr<int64_t>() + begin, feature.length(), int64_t{1});
    starts.data_ptr<int64_t>()[row] = feature.start_position;
    ends.data_ptr<int64_t>()[row] = feature.end_position;
    const auto question = static_cast<size_t>(feature.question);
    if (features_->data.questions[question].is_without_place()) ++rows.num_without_place;
  }
  lightning::Batch batch({{"input_ids", ids},
                          {"token_type_ids", types},
                          {"attention_mask", mask},
                          {"start_positions", starts},
                          {"end_positions", ends}});
  batch.set_batch_size(batch_size);
  batch.set_payload(std::move(rows));
  return batch;
}

std::vector<int64_t> SquadDataset::lengths() const {
  std::vector<int64_t> lengths;
  lengths.reserve(features_->features.size());
  for (const Feature& feature : features_->features) lengths.push_back(feature.length());
  return lengths;
}

}  // namespace bert_squad
