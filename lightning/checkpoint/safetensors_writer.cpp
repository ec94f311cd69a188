#include <lightning/checkpoint/safetensors.h>

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

#include <lightning/checkpoint/detail/safetensors_format.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

void check_tensor(const std::string& name, const at::Tensor& tensor) {
  LIGHTNING_CHECK(name != "__metadata__", CheckpointError,
                  "safetensors: a tensor can't be named \"__metadata__\".");
  LIGHTNING_CHECK(tensor.defined(), CheckpointError, "safetensors: tensor \"", name,
                  "\" is undefined.");
  LIGHTNING_CHECK(tensor.layout() == at::kStrided && !tensor.is_meta(), CheckpointError,
                  "safetensors: tensor \"", name, "\" is sparse or has no data, ",
                  "only dense tensors can be stored.");
  LIGHTNING_CHECK(detail::safetensors_dtype_name(tensor.scalar_type()), CheckpointError,
                  "safetensors: tensor \"", name, "\" has type ",
                  at::toString(tensor.scalar_type()), ", which the format doesn't know.");
}

/// The order of the format's own writer: by type, then by name.
std::vector<size_t> writing_order(const NamedTensors& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int rank_a = detail::safetensors_dtype_rank(tensors[a].second.scalar_type());
    const int rank_b = detail::safetensors_dtype_rank(tensors[b].second.scalar_type());
    return rank_a != rank_b ? rank_a > rank_b : tensors[a].first < tensors[b].first;
  });
  return order;
}

std::string make_header(const NamedTensors& tensors, const std::vector<size_t>& order,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string text;
  try {
    size_t offset = 0;
    // Appended as text: ordered_json looks through all its keys at each insertion.
    text = header.dump();
    text.pop_back();
    for (const size_t i : order) {
      const auto& [name, tensor] = tensors[i];
      const size_t end = offset + tensor.nbytes();
      nlohmann::ordered_json entry;
      entry["dtype"] = *detail::safetensors_dtype_name(tensor.scalar_type());
      entry["shape"] = tensor.sizes().vec();
      entry["data_offsets"] = {offset, end};
      if (text.size() > 1) text += ',';
      text += nlohmann::json(name).dump() + ":" + entry.dump();
      offset = end;
    }
    text += '}';
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(
        detail::concat("safetensors: names and metadata must be UTF-8 text: ", error.what()));
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

size_t detail::write_safetensors_to(WritableFile& file, const NamedTensors& tensors,
                                    const std::map<std::string, std::string>& metadata) {
  for (const auto& [name, tensor] : tensors) check_tensor(name, tensor);
  const std::vector<size_t> order = writing_order(tensors);
  std::vector<std::string_view> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  LIGHTNING_CHECK(twin == names.end(), CheckpointError, "safetensors: two tensors are named \"",
                  *twin, "\".");

  const std::string header = make_header(tensors, order, metadata);
  LIGHTNING_CHECK(header.size() <= kMaxHeaderBytes, CheckpointError, "safetensors: the header of ",
                  tensors.size(), " tensors takes ", header.size(), " bytes, the format allows ",
                  kMaxHeaderBytes, ".");
  char length[8];
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  file.write(length, sizeof length);
  file.write(header);
  size_t written = sizeof length + header.size();
  for (const size_t i : order) {
    const at::Tensor host =
        tensors[i].second.detach().to(at::kCPU).resolve_conj().resolve_neg().contiguous();
    if (host.nbytes() > 0) file.write(host.const_data_ptr(), host.nbytes());
    written += host.nbytes();
  }
  return written;
}

size_t write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                         const std::map<std::string, std::string>& metadata) {
  const auto file = FileSystem::current().open_for_writing(path);
  const size_t size_bytes = detail::write_safetensors_to(*file, tensors, metadata);
  file->sync();
  file->close();
  return size_bytes;
}

}  // namespace lightning
