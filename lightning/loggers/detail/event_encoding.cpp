#include <lightning/loggers/detail/event_encoding.h>

#include <bit>

#include <lightning/util/detail/crc32c.h>

namespace lightning::detail {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_key(std::string& out, uint32_t field, WireType type) {
  append_varint(out, field << 3 | type);
}

template <typename Integer>
void append_little_endian(std::string& out, Integer value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i));
}

void append_integer(std::string& out, uint32_t field, int64_t value) {
  append_key(out, field, kVarint);
  append_varint(out, static_cast<uint64_t>(value));
}

void append_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  append_key(out, field, kLengthDelimited);
  append_varint(out, bytes.size());
  out += bytes;
}

size_t varint_size(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

uint32_t masked_checksum(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes.data(), bytes.size());
  return std::rotr(crc, 15) + 0xa282ead8u;
}

/// Frames what `body` appends.
template <typename Body>
void append_record(std::string& out, double wall_time, const Body& body) {
  const size_t begin = out.size();
  out.append(12, '\0');
  // message Event: double wall_time = 1; int64 step = 2; oneof what { ... }
  append_key(out, 1, kFixed64);
  append_little_endian(out, std::bit_cast<uint64_t>(wall_time));
  body();
  const uint64_t size = out.size() - begin - 12;
  std::string frame;
  append_little_endian(frame, size);
  append_little_endian(frame, masked_checksum(frame));
  out.replace(begin, 12, frame);
  append_little_endian(out, masked_checksum(std::string_view(out).substr(begin + 12)));
}

}  // namespace

void append_file_version(std::string& out, double wall_time) {
  append_record(out, wall_time, [&] { append_bytes(out, 3, "brain.Event:2"); });
}

void append_session_start(std::string& out, double wall_time, int64_t step) {
  append_record(out, wall_time, [&] {
    append_integer(out, 2, step);
    std::string session;
    append_integer(session, 1, 1);  // SessionLog.status = START
    append_bytes(out, 7, session);
  });
}

void append_scalar(std::string& out, std::string_view tag, float value) {
  // message Summary.Value: string tag = 1; float simple_value = 2
  const size_t size = 1 + varint_size(tag.size()) + tag.size() + 1 + sizeof value;
  append_key(out, 1, kLengthDelimited);
  append_varint(out, size);
  append_bytes(out, 1, tag);
  append_key(out, 2, kFixed32);
  append_little_endian(out, std::bit_cast<uint32_t>(value));
}

void append_text(std::string& out, std::string_view tag, std::string_view text) {
  std::string plugin;
  append_bytes(plugin, 1, "text");  // PluginData.plugin_name
  std::string metadata;
  append_bytes(metadata, 1, plugin);  // SummaryMetadata.plugin_data
  std::string dim;
  append_integer(dim, 1, 1);  // TensorShapeProto.Dim.size
  std::string shape;
  append_bytes(shape, 2, dim);
  std::string tensor;
  append_integer(tensor, 1, 7);  // TensorProto.dtype = DT_STRING
  append_bytes(tensor, 2, shape);
  append_bytes(tensor, 8, text);  // string_val
  std::string value;
  append_bytes(value, 1, tag);
  append_bytes(value, 8, tensor);
  append_bytes(value, 9, metadata);
  append_bytes(out, 1, value);
}

void append_summary_event(std::string& out, double wall_time, int64_t step,
                          std::string_view summary) {
  append_record(out, wall_time, [&] {
    append_integer(out, 2, step);
    append_bytes(out, 5, summary);
  });
}

}  // namespace lightning::detail
