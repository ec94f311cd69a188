/// ExchangeTable: the hub's side of all_gather, broadcast and barrier. There is one exchange at a
/// time, since every rank waits for the result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <lightning/control/detail/message.h>

namespace lightning::detail {

class LIGHTNING_API ExchangeTable {
 public:
  explicit ExchangeTable(int64_t world_size);

  /// Takes a rank's part. Returns what is wrong when it doesn't fit the others', else nothing.
  std::string add(int64_t rank, ExchangePart part);
  bool open() const { return count_ > 0; }
  bool complete() const { return count_ == payloads_.size(); }
  ExchangeKind kind() const { return kind_; }
  uint64_t number() const { return sequence_; }
  /// `all_gather "log keys"`.
  std::string title() const;
  std::vector<int64_t> present() const { return ranks(true); }
  std::vector<int64_t> missing() const { return ranks(false); }
  /// Body of the result; the table is empty afterwards.
  std::string take_result();

 private:
  std::vector<int64_t> ranks(bool present) const;

  std::vector<std::optional<std::string>> payloads_;
  size_t count_ = 0;
  ExchangeKind kind_ = ExchangeKind::kGather;
  uint64_t sequence_ = 0;
  std::string name_;
};

}  // namespace lightning::detail
