/// StopAgreement: the hub's side of stopping together. A request makes all ranks publish the
/// boundary they are in; they stop at the largest, plus one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <lightning/control/detail/message.h>

namespace lightning::detail {

class LIGHTNING_API StopAgreement {
 public:
  explicit StopAgreement(int64_t world_size);

  /// True when the ranks must be asked for their boundaries; later requests join the first.
  bool begin(const StopRequest& request);
  /// Tells answers to this question from those to one that was cleared.
  uint64_t generation() const { return generation_; }
  /// Takes a rank's answer; the order to all once the last has come.
  std::optional<StopOrder> publish(int64_t rank, const Publication& publication);
  void clear();

 private:
  size_t world_size_;
  uint64_t generation_ = 0;
  bool requested_ = false;
  StopOrder order_;
  std::vector<bool> published_;
  size_t count_ = 0;
};

}  // namespace lightning::detail
