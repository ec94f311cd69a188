/// The control plane's language: messages in frames, between a rank and the hub. Numbers are in the
/// machine's own byte order, since all ranks of a run are of one kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/control/control_plane.h>
#include <lightning/util/export.h>

namespace lightning::detail {

inline constexpr uint32_t kProtocolVersion = 2;
inline constexpr size_t kHeaderSize = 16;
/// Strangers may send no more than this at a time, ranks no more than that.
inline constexpr size_t kMaxGreeting = 64UL << 10;
inline constexpr size_t kMaxBody = 1UL << 32;

enum class MessageType : uint32_t {
  // from a rank
  kHello = 1,    // who it is; the hub answers with kAccept or kRefuse
  kConfirm,      // it takes the hub's answer: from now on it is one of the ranks
  kHeartbeat,    // its status
  kExchange,     // its part of an exchange
  kRequestStop,  // it wants all to stop
  kPublish,      // the boundary it is in
  kFail,         // it can't continue, or another rank can't
  kQuit,         // it goes, after a failure
  // from the hub
  kAccept,
  kRefuse,
  kWelcome,  // all ranks have come
  kPulse,    // rank 0's status
  kResult,   // of an exchange
  kPrepare,  // publish your boundary
  kStop,     // where all stop
  kFailed,
};

struct Message {
  MessageType type;
  std::string body;
};

/// A whole frame, shared by the queues of all connections that it goes to.
using Frame = std::shared_ptr<const std::string>;
LIGHTNING_API Frame make_frame(MessageType type, std::string_view body = {});

/// A header's content. Nothing when the bytes don't follow this protocol.
struct Header {
  MessageType type;
  size_t body_size = 0;
};
LIGHTNING_API std::optional<Header> parse_header(std::string_view bytes);

/// Cuts a stream of bytes into messages.
class LIGHTNING_API FrameReader {
 public:
  void append(std::string_view bytes);
  /// Throws DistributedError for bytes that are none of ours and for bodies over `max_body`.
  std::optional<Message> next(size_t max_body);

 private:
  std::string bytes_;
  size_t begin_ = 0;  // of what hasn't been taken
};

/// RankStatus, as it arrives elsewhere.
struct LIGHTNING_API RemoteStatus {
  int64_t global_step = 0;
  std::string phase = "start";
  std::string collective;
  uint64_t sequence = 0;
  bool waiting = false;
  bool long_phase = false;

  std::string encode() const;
  static RemoteStatus decode(std::string_view body);
};

/// What others know of a rank.
struct RankRecord {
  std::string host = "host unknown";
  RemoteStatus status;
};

struct LIGHTNING_API Hello {
  uint32_t version = kProtocolVersion;
  std::string run_id;
  int64_t rank = 0;
  int64_t world_size = 0;
  std::string host;

  std::string encode() const;
  static Hello decode(std::string_view body);
};

struct LIGHTNING_API Refusal {
  bool other_run = false;  // else it is for good
  std::string text;

  std::string encode() const;
  static Refusal decode(std::string_view body);
};

struct LIGHTNING_API Welcome {
  std::string hub_address;
  std::vector<std::string> hosts;

  std::string encode() const;
  static Welcome decode(std::string_view body);
};

enum class ExchangeKind : uint8_t { kGather, kBroadcast, kBarrier, kClearStop, kLeave };

struct LIGHTNING_API ExchangePart {
  ExchangeKind kind = ExchangeKind::kGather;
  uint64_t sequence = 0;
  std::string name;
  std::string payload;

  std::string encode() const;
  static ExchangePart decode(std::string_view body);
};

LIGHTNING_API std::string encode_texts(const std::vector<std::string>& texts);
LIGHTNING_API std::vector<std::string> decode_texts(std::string_view body);

LIGHTNING_API std::string encode_request(const StopRequest& request);
LIGHTNING_API StopRequest decode_request(std::string_view body);

/// What a rank answers to kPrepare. `boundary` is empty before its first one.
struct LIGHTNING_API Publication {
  uint64_t generation = 0;
  std::optional<int64_t> boundary;

  std::string encode() const;
  static Publication decode(std::string_view body);
};

/// Where all stop; an empty boundary is the first one.
struct LIGHTNING_API StopOrder {
  std::optional<int64_t> boundary;
  StopRequest request;

  std::string encode() const;
  static StopOrder decode(std::string_view body);
};

LIGHTNING_API std::string encode_failure(const Failure& failure);
LIGHTNING_API Failure decode_failure(std::string_view body);

struct LIGHTNING_API FailureReport {
  bool complete = false;  // the text names the rank that failed already
  Failure failure;
  RemoteStatus status;  // of the rank that reports

  std::string encode() const;
  static FailureReport decode(std::string_view body);
};

}  // namespace lightning::detail
