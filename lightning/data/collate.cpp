#include <ATen/ATen.h>

#include <lightning/data/dataset.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

// The tensor `name` of sample `i`; samples made by one data set have their names in one order.
const at::Tensor& find_tensor(const std::vector<Batch>& samples, size_t i, size_t position,
                              const std::string& name) {
  const auto& items = samples[i].items();
  if (items[position].first == name) return items[position].second;
  LIGHTNING_CHECK(samples[i].contains(name), DataError, "collate: sample ", i,
                  " of the batch has no tensor \"", name, "\", sample 0 has one.");
  return samples[i][name];
}

at::Tensor stack_samples(const std::vector<Batch>& samples, size_t position) {
  const auto& [name, first] = samples[0].items()[position];
  std::vector<at::Tensor> tensors;
  tensors.reserve(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    const at::Tensor& tensor = find_tensor(samples, i, position, name);
    LIGHTNING_CHECK(tensor.defined(), DataError, "collate: tensor \"", name, "\" of sample ", i,
                    " of the batch is undefined.");
    LIGHTNING_CHECK(tensor.sizes() == first.sizes(), DataError, "collate: tensor \"", name,
                    "\" has shape ", tensor.sizes(), " in sample ", i, " of the batch but ",
                    first.sizes(),
                    " in sample 0, equal shapes were expected. HINT: pad in "
                    "Dataset::get_batch().");
    LIGHTNING_CHECK(tensor.scalar_type() == first.scalar_type(), DataError, "collate: tensor \"",
                    name, "\" is ", tensor.scalar_type(), " in sample ", i, " of the batch but ",
                    first.scalar_type(), " in sample 0, one type was expected.");
    tensors.push_back(tensor);
  }
  return at::stack(tensors);
}

}  // namespace

Batch collate(const std::vector<Batch>& samples) {
  LIGHTNING_CHECK(!samples.empty(), DataError, "collate: no samples, at least one was expected.");
  const auto& first = samples[0].items();
  bool any_payload = false;
  for (size_t i = 0; i < samples.size(); ++i) {
    LIGHTNING_CHECK(samples[i].items().size() == first.size(), DataError, "collate: sample ", i,
                    " of the batch has ", samples[i].size(), " tensors, sample 0 has ",
                    first.size(), ".");
    any_payload = any_payload || samples[i].has_payload();
  }
  Batch batch;
  for (size_t position = 0; position < first.size(); ++position) {
    batch.set(first[position].first, stack_samples(samples, position));
  }
  if (any_payload) {
    std::vector<std::any> payloads;
    payloads.reserve(samples.size());
    for (const Batch& sample : samples) payloads.push_back(sample.any_payload());
    batch.set_payload(std::move(payloads));
  }
  batch.set_batch_size(static_cast<int64_t>(samples.size()));
  return batch;
}

}  // namespace lightning
