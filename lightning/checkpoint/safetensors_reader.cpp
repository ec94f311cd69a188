#include <lightning/checkpoint/safetensors.h>

#include <algorithm>
#include <limits>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

#include <lightning/checkpoint/detail/mapped_file.h>
#include <lightning/checkpoint/detail/safetensors_format.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using nlohmann::json;

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace

class SafetensorsFile::Impl {
 public:
  explicit Impl(const std::filesystem::path& path) : path_(path), file_(path) {
    read_header();
    check_ranges();
  }

  std::vector<SafetensorsInfo> tensors;
  std::map<std::string, std::string> metadata;

  size_t index(std::string_view name) const {
    const auto found = indices_.find(name);
    if (found == indices_.end()) {
      fail(detail::concat("no tensor \"", name, "\" among its ", tensors.size(), " tensors"));
    }
    return found->second;
  }
  bool contains(std::string_view name) const { return indices_.find(name) != indices_.end(); }

  const char* bytes(size_t index) const { return data_ + ranges_[index].begin; }
  size_t size_bytes(size_t index) const { return ranges_[index].end - ranges_[index].begin; }

  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw CheckpointError(
        detail::concat("safetensors file \"", path_.string(), "\": ", parts..., "."));
  }
  template <typename... Parts>
  [[noreturn]] void fail_as_damaged(const Parts&... parts) const {
    fail(parts..., ". HINT: the file is damaged or incomplete: copy or download it again");
  }

 private:
  void read_header();
  void read_metadata(const json& value);
  void read_tensor(const std::string& name, const json& value);
  void check_ranges();

  std::filesystem::path path_;
  detail::MappedFile file_;
  const char* data_ = nullptr;
  size_t data_bytes_ = 0;
  std::vector<Range> ranges_;
  std::map<std::string, size_t, std::less<>> indices_;
};

void SafetensorsFile::Impl::read_header() {
  if (file_.size_bytes() < 8) {
    fail_as_damaged("it has ", file_.size_bytes(), " bytes, too few for a header");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) {
    length |= static_cast<uint64_t>(static_cast<unsigned char>(file_.data()[i])) << (8 * i);
  }
  const size_t rest = file_.size_bytes() - 8;
  if (length > rest) {
    fail_as_damaged("it declares a header of ", length, " bytes, but only ", rest, " follow");
  }
  if (length > detail::kMaxHeaderBytes) fail("its header of ", length, " bytes is too long");
  const std::string_view text(file_.data() + 8, length);
  if (text.empty() || text.front() != '{') fail_as_damaged("its header is not a JSON object");
  data_ = file_.data() + 8 + length;
  data_bytes_ = rest - length;

  // The parser itself lets the last of several equal keys win, and nests without a limit.
  std::vector<std::set<std::string>> keys;
  const json::parser_callback_t check = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      fail_as_damaged("its header has the key ", value.dump(), " twice");
    }
    if (depth > 8) fail_as_damaged("its header is nested too deeply");
    return true;
  };
  json header;
  try {
    header = json::parse(text, check);
  } catch (const json::exception& error) {
    fail_as_damaged("its header is not JSON (", error.what(), ")");
  }
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      read_metadata(value);
    } else {
      read_tensor(name, value);
    }
  }
}

void SafetensorsFile::Impl::read_metadata(const json& value) {
  if (value.is_null()) return;
  if (!value.is_object()) fail_as_damaged("its __metadata__ is not a JSON object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail_as_damaged("its metadata \"", key, "\" is not a string");
    metadata[key] = text.get<std::string>();
  }
}

void SafetensorsFile::Impl::read_tensor(const std::string& name, const json& value) {
  const auto field = [&](const char* key) -> const json& {
    if (!value.is_object() || !value.contains(key)) {
      fail_as_damaged("tensor \"", name, "\" has no ", key);
    }
    return value[key];
  };
  const auto numbers = [&](const char* key) {
    const json& list = field(key);
    std::vector<uint64_t> result;
    bool valid = list.is_array();
    for (size_t i = 0; valid && i < list.size(); ++i) {
      valid = list[i].is_number_unsigned() &&
              list[i].get<uint64_t>() <= std::numeric_limits<int64_t>::max();
      if (valid) result.push_back(list[i].get<uint64_t>());
    }
    if (!valid) fail_as_damaged("tensor \"", name, "\" has a ", key, " of ", list.dump());
    return result;
  };

  const json& dtype_name = field("dtype");
  const auto dtype = dtype_name.is_string()
                         ? detail::safetensors_dtype(dtype_name.get_ref<const std::string&>())
                         : std::nullopt;
  if (!dtype) fail("tensor \"", name, "\" has an unknown dtype ", dtype_name.dump());
  const std::vector<uint64_t> shape = numbers("shape");
  const std::vector<uint64_t> offsets = numbers("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail_as_damaged("tensor \"", name, "\" has data_offsets of ", field("data_offsets").dump());
  }
  uint64_t size = c10::elementSize(*dtype);
  for (const uint64_t extent : shape) {
    if (__builtin_mul_overflow(size, extent, &size)) {
      fail_as_damaged("tensor \"", name, "\" has an impossible shape of ", field("shape").dump());
    }
  }
  if (size != offsets[1] - offsets[0]) {
    fail_as_damaged("tensor \"", name, "\" of type ", dtype_name.get<std::string>(), " and shape ",
                    field("shape").dump(), " takes ", size, " bytes, but data_offsets gives it ",
                    offsets[1] - offsets[0]);
  }
  tensors.push_back({.name = name, .dtype = *dtype, .shape = {shape.begin(), shape.end()}});
  ranges_.push_back({.begin = offsets[0], .end = offsets[1]});
}

void SafetensorsFile::Impl::check_ranges() {
  std::vector<size_t> order(tensors.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(ranges_[a].begin, ranges_[a].end) <
           std::pair(ranges_[b].begin, ranges_[b].end);
  });
  std::vector<SafetensorsInfo> sorted_tensors;
  std::vector<Range> sorted_ranges;
  uint64_t end = 0;
  for (const size_t i : order) {
    if (ranges_[i].begin != end) {
      fail_as_damaged("the data of tensor \"", tensors[i].name, "\" begins at byte ",
                      ranges_[i].begin, ", that before it ends at byte ", end);
    }
    end = ranges_[i].end;
    indices_.emplace(tensors[i].name, sorted_tensors.size());
    sorted_tensors.push_back(std::move(tensors[i]));
    sorted_ranges.push_back(ranges_[i]);
  }
  if (end != data_bytes_) {
    fail_as_damaged("its tensors take ", end, " bytes, but ", data_bytes_, " follow the header");
  }
  tensors = std::move(sorted_tensors);
  ranges_ = std::move(sorted_ranges);
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : impl_(std::make_unique<Impl>(path)) {}
SafetensorsFile::~SafetensorsFile() = default;

const std::vector<SafetensorsInfo>& SafetensorsFile::tensors() const { return impl_->tensors; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return impl_->metadata;
}
bool SafetensorsFile::contains(std::string_view name) const { return impl_->contains(name); }

at::Tensor SafetensorsFile::read(std::string_view name) const {
  const size_t index = impl_->index(name);
  const SafetensorsInfo& info = impl_->tensors[index];
  at::Tensor result = at::empty(info.shape, at::TensorOptions(info.dtype));
  if (impl_->size_bytes(index) > 0) {
    std::memcpy(result.mutable_data_ptr(), impl_->bytes(index), impl_->size_bytes(index));
  }
  return result;
}

void SafetensorsFile::read_into(std::string_view name, at::Tensor& target) const {
  const size_t index = impl_->index(name);
  const SafetensorsInfo& info = impl_->tensors[index];
  if (target.sizes() != at::IntArrayRef(info.shape)) {
    impl_->fail("tensor \"", name, "\" is ", shape_text(info.shape), ", but ",
                shape_text(target.sizes()), " is requested");
  }
  const at::NoGradGuard no_grad;
  const char* bytes = impl_->bytes(index);
  const auto address = reinterpret_cast<uintptr_t>(bytes);
  // Files of other writers may be unaligned; our kernels would read across elements.
  if (impl_->size_bytes(index) == 0 || address % c10::elementSize(info.dtype) != 0) {
    target.copy_(read(name));
  } else {
    target.copy_(at::from_blob(const_cast<char*>(bytes), info.shape, info.dtype));
  }
}

}  // namespace lightning
