#include <lightning/control/detail/message.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

constexpr uint32_t kMagic = 0x4c744350;  // "LtCP"

class Writer {
 public:
  template <typename T>
  Writer& number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    body_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Writer& text(std::string_view value) {
    number<uint64_t>(value.size());
    body_.append(value);
    return *this;
  }
  Writer& optional(const std::optional<int64_t>& value) {
    return number(value.has_value()).number(value.value_or(0));
  }
  std::string take() { return std::move(body_); }

 private:
  std::string body_;
};

class Reader {
 public:
  explicit Reader(std::string_view body) : body_(body) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  bool flag() { return number<uint8_t>() != 0; }
  std::string text() { return std::string(take(number<uint64_t>())); }
  std::optional<int64_t> optional() {
    const bool has_value = flag();
    const auto value = number<int64_t>();
    return has_value ? std::optional(value) : std::nullopt;
  }
  std::string_view rest() { return take(body_.size()); }

 private:
  std::string_view take(size_t count) {
    LIGHTNING_CHECK(count <= body_.size(), DistributedError,
                    "control plane: a message is too short.");
    const std::string_view bytes = body_.substr(0, count);
    body_.remove_prefix(count);
    return bytes;
  }

  std::string_view body_;
};

}  // namespace

Frame make_frame(MessageType type, std::string_view body) {
  std::string bytes = Writer()
                          .number(kMagic)
                          .number(static_cast<uint32_t>(type))
                          .number<uint64_t>(body.size())
                          .take();
  bytes.append(body);
  return std::make_shared<const std::string>(std::move(bytes));
}

std::optional<Header> parse_header(std::string_view bytes) {
  Reader reader(bytes);
  if (reader.number<uint32_t>() != kMagic) return std::nullopt;
  const auto type = static_cast<MessageType>(reader.number<uint32_t>());
  return Header{type, reader.number<uint64_t>()};
}

void FrameReader::append(std::string_view bytes) {
  if (begin_ > bytes_.size() / 2) {
    bytes_.erase(0, begin_);
    begin_ = 0;
  }
  bytes_.append(bytes);
}

std::optional<Message> FrameReader::next(size_t max_body) {
  const std::string_view bytes = std::string_view(bytes_).substr(begin_);
  if (bytes.size() < kHeaderSize) return std::nullopt;
  const std::optional<Header> header = parse_header(bytes.substr(0, kHeaderSize));
  LIGHTNING_CHECK(header, DistributedError, "control plane: bytes that are no message arrived.");
  LIGHTNING_CHECK(header->body_size <= max_body, DistributedError, "control plane: a message of ",
                  header->body_size, " bytes arrived, at most ", max_body, " are allowed.");
  if (bytes.size() < kHeaderSize + header->body_size) return std::nullopt;
  begin_ += kHeaderSize + header->body_size;
  return Message{header->type, std::string(bytes.substr(kHeaderSize, header->body_size))};
}

std::string RemoteStatus::encode() const {
  return Writer()
      .number(global_step)
      .text(phase)
      .text(collective)
      .number(sequence)
      .number(waiting)
      .number(long_phase)
      .take();
}

RemoteStatus RemoteStatus::decode(std::string_view body) {
  Reader reader(body);
  RemoteStatus status;
  status.global_step = reader.number<int64_t>();
  status.phase = reader.text();
  status.collective = reader.text();
  status.sequence = reader.number<uint64_t>();
  status.waiting = reader.flag();
  status.long_phase = reader.flag();
  return status;
}

std::string Hello::encode() const {
  return Writer().number(version).text(run_id).number(rank).number(world_size).text(host).take();
}

Hello Hello::decode(std::string_view body) {
  Reader reader(body);
  Hello hello;
  hello.version = reader.number<uint32_t>();
  hello.run_id = reader.text();
  if (hello.version != kProtocolVersion) return hello;  // what follows may look otherwise
  hello.rank = reader.number<int64_t>();
  hello.world_size = reader.number<int64_t>();
  hello.host = reader.text();
  return hello;
}

std::string Refusal::encode() const { return Writer().number(other_run).text(text).take(); }

Refusal Refusal::decode(std::string_view body) {
  Reader reader(body);
  const bool other_run = reader.flag();
  return {other_run, reader.text()};
}

std::string Welcome::encode() const {
  return Writer().text(hub_address).take() + encode_texts(hosts);
}

Welcome Welcome::decode(std::string_view body) {
  Reader reader(body);
  std::string hub_address = reader.text();
  return {std::move(hub_address), decode_texts(reader.rest())};
}

std::string ExchangePart::encode() const {
  return Writer()
      .number(static_cast<uint8_t>(kind))
      .number(sequence)
      .text(name)
      .text(payload)
      .take();
}

ExchangePart ExchangePart::decode(std::string_view body) {
  Reader reader(body);
  ExchangePart part;
  part.kind = static_cast<ExchangeKind>(reader.number<uint8_t>());
  part.sequence = reader.number<uint64_t>();
  part.name = reader.text();
  part.payload = reader.text();
  return part;
}

std::string encode_texts(const std::vector<std::string>& texts) {
  Writer writer;
  writer.number<uint64_t>(texts.size());
  for (const std::string& text : texts) writer.text(text);
  return writer.take();
}

std::vector<std::string> decode_texts(std::string_view body) {
  Reader reader(body);
  const auto count = reader.number<uint64_t>();
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < count; ++i) texts.push_back(reader.text());
  return texts;
}

std::string encode_request(const StopRequest& request) {
  return Writer().number(request.signal).number(request.rank).text(request.reason).take();
}

StopRequest decode_request(std::string_view body) {
  Reader reader(body);
  StopRequest request;
  request.signal = reader.number<int>();
  request.rank = reader.number<int64_t>();
  request.reason = reader.text();
  return request;
}

std::string Publication::encode() const {
  return Writer().number(generation).optional(boundary).take();
}

Publication Publication::decode(std::string_view body) {
  Reader reader(body);
  const auto generation = reader.number<uint64_t>();
  return {generation, reader.optional()};
}

std::string StopOrder::encode() const {
  return Writer().optional(boundary).take() + encode_request(request);
}

StopOrder StopOrder::decode(std::string_view body) {
  Reader reader(body);
  const std::optional<int64_t> boundary = reader.optional();
  return {boundary, decode_request(reader.rest())};
}

std::string encode_failure(const Failure& failure) {
  return Writer()
      .number(static_cast<uint8_t>(failure.kind))
      .number(failure.rank)
      .text(failure.text)
      .take();
}

Failure decode_failure(std::string_view body) {
  Reader reader(body);
  Failure failure;
  failure.kind = static_cast<FailureKind>(reader.number<uint8_t>());
  failure.rank = reader.number<int64_t>();
  failure.text = reader.text();
  return failure;
}

std::string FailureReport::encode() const {
  return Writer().number(complete).text(encode_failure(failure)).take() + status.encode();
}

FailureReport FailureReport::decode(std::string_view body) {
  Reader reader(body);
  const bool complete = reader.flag();
  Failure failure = decode_failure(reader.text());
  return {complete, std::move(failure), RemoteStatus::decode(reader.rest())};
}

}  // namespace lightning::detail
