#include <lightning/control/detail/state_exchange.h>

#include <cstring>
#include <type_traits>

#include <ATen/ops/empty.h>

#include <lightning/util/error.h>

namespace lightning {
namespace {

class Writer {
 public:
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void write(const T& value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T)); }
  void write(const std::string& text) {
    write(static_cast<uint64_t>(text.size()));
    bytes_ += text;
  }
  template <typename T>
  void write(const std::vector<T>& values) {
    write(static_cast<uint64_t>(values.size()));
    for (const T& value : values) write(value);
  }
  void write(const at::Tensor& tensor) {
    const at::Tensor host = tensor.detach().cpu().contiguous();
    write(static_cast<int32_t>(host.scalar_type()));
    write(host.sizes().vec());
    bytes_.append(static_cast<const char*>(host.const_data_ptr()), host.nbytes());
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void read(T& value) { std::memcpy(&value, take(sizeof(T)).data(), sizeof(T)); }
  void read(std::string& text) {
    uint64_t size = 0;
    read(size);
    text = take(size);
  }
  template <typename T>
  void read(std::vector<T>& values) {
    uint64_t size = 0;
    read(size);
    for (uint64_t i = 0; i < size; ++i) read(values.emplace_back());
  }
  void read(at::Tensor& tensor) {
    int32_t type = 0;
    std::vector<int64_t> sizes;
    read(type);
    read(sizes);
    tensor = at::empty(sizes, at::TensorOptions(static_cast<at::ScalarType>(type)));
    const std::string_view data = take(tensor.nbytes());
    if (!data.empty()) std::memcpy(tensor.mutable_data_ptr(), data.data(), data.size());
  }

 private:
  std::string_view take(size_t count) {
    LIGHTNING_CHECK(count <= rest_.size(), DistributedError, "state exchange: a state ends after ",
                    rest_.size(), " more bytes, expected ", count, ".");
    const std::string_view part = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return part;
  }

  std::string_view rest_;
};

/// The value of alternative `index` of the variant.
template <size_t... Is>
StateDict::Value read_value(Reader& reader, size_t index, std::index_sequence<Is...>) {
  StateDict::Value value;
  const auto read_as = [&]<size_t I>() {
    if (index == I) reader.read(value.emplace<I>());
  };
  (read_as.template operator()<Is>(), ...);
  return value;
}

}  // namespace

std::string to_bytes(const StateDict& state) {
  Writer writer;
  for (const auto& [name, value] : state.entries()) {
    writer.write(name);
    writer.write(static_cast<uint8_t>(value.index()));
    std::visit([&](const auto& content) { writer.write(content); }, value);
  }
  return writer.take();
}

StateDict state_from_bytes(std::string_view bytes) {
  constexpr size_t kTypes = std::variant_size_v<StateDict::Value>;
  StateDict state;
  Reader reader(bytes);
  while (!reader.done()) {
    std::string name;
    uint8_t index = 0;
    reader.read(name);
    reader.read(index);
    LIGHTNING_CHECK(index < kTypes, DistributedError, "state exchange: \"", name,
                    "\" has type number ", static_cast<int>(index), ", expected less than ", kTypes,
                    ".");
    state.set(name, read_value(reader, index, std::make_index_sequence<kTypes>()));
  }
  return state;
}

std::vector<StateDict> all_gather_object(ControlPlane& control, std::string_view name,
                                         const StateDict& state) {
  std::vector<StateDict> states;
  for (const std::string& bytes : control.all_gather(name, to_bytes(state))) {
    states.push_back(state_from_bytes(bytes));
  }
  return states;
}

}  // namespace lightning
