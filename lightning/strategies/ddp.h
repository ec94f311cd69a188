/// DDPStrategy: each rank has a whole replica and a share of each batch; gradients are averaged
/// over ranks while backward still runs, by torch's own c10d::Reducer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/strategies/strategy.h>
#include <lightning/util/export.h>

namespace lightning {

/// How gradients travel: as they are, or as 16-bit numbers. (Gradients of weighted losses carry the
/// weight with them: float16 overflows at 65504, bfloat16 doesn't.)
enum class CommHook { kNone, kFp16Compress, kBf16Compress };
LIGHTNING_ENUM(CommHook, LIGHTNING_ENUMERATOR(kNone, "none"),
               LIGHTNING_ENUMERATOR(kFp16Compress, "fp16_compress"),
               LIGHTNING_ENUMERATOR(kBf16Compress, "bf16_compress"))

struct DDPOptions {
  /// Some trainable parameters have no part in some losses. Costs a walk through the graph in each
  /// window.
  bool find_unused_parameters = false;
  /// On each rank the same parameters have part in the loss of every micro-batch, perhaps not all:
  /// found out once, in the first window whose last micro-batch has a loss on every rank. That
  /// window sends its gradients after backward, not while it runs. Goes before
  /// find_unused_parameters.
  bool static_graph = false;
  /// Gradients are views into the buckets that are sent: saves their size in memory.
  bool gradient_as_bucket_view = false;
  /// Gradients are sent in buckets of this size in MiB (the first one of at most 1).
  double bucket_cap_mb = 25.0;
  CommHook comm_hook = CommHook::kNone;
  /// Buffers are made those of rank 0 at the beginning of each window.
  bool broadcast_buffers = true;
};
LIGHTNING_FIELDS(DDPOptions,
                 LIGHTNING_FIELD(find_unused_parameters, "allow losses that leave parameters out"),
                 LIGHTNING_FIELD(static_graph, "the same parameters have part in every loss"),
                 LIGHTNING_FIELD(gradient_as_bucket_view, "gradients are views of what is sent"),
                 LIGHTNING_FIELD(bucket_cap_mb, "MiB of gradients that are sent at once"),
                 LIGHTNING_FIELD(comm_hook,
                                 "send gradients as none (as they are), fp16_compress or "
                                 "bf16_compress"),
                 LIGHTNING_FIELD(broadcast_buffers, "buffers follow rank 0 in each window"))

namespace detail {
class GradientReducer;
}

/// Beyond what Strategy says:
/// - setup() compares names, shapes, dtypes and requires_grad of all parameters and buffers over
///   ranks, and so does the first window and one after a change of requires_grad. ConfigError names
///   rank and parameter.
/// - Without find_unused_parameters and static_graph backward() throws ConfigError naming the
///   trainable parameters that had no part in the window's last loss; with static_graph those whose
///   part is another one than in the first.
/// Sync: none on a GPU, but in the first window and on ranks that skip a whole window.
class LIGHTNING_API DDPStrategy final : public Strategy {
 public:
  /// Throws ConfigError for options out of range.
  explicit DDPStrategy(StrategyContext context, const DDPOptions& options = {});
  ~DDPStrategy() override;

  std::string_view name() const override { return "ddp"; }
  int64_t bucket_bytes() const override;

 private:
  void do_setup(torch::nn::Module& module) override;
  void do_teardown() override;
  void do_begin_window(torch::nn::Module& module) override;
  void do_backward(const RunBackward& run_backward, const at::Tensor& loss, bool last_in_window,
                   AccumulationWindow& window) override;
  void do_synchronize_buffers() override;

  void list_tensors(torch::nn::Module& module);
  void broadcast_coalesced(const std::vector<at::Tensor>& tensors);
  bool trainable_changed() const;
  void make_reducer();

  DDPOptions options_;
  // Tied tensors once, in named order.
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  std::vector<bool> trainable_;      // parameters_ as the reducer knows them
  std::vector<at::Tensor> buffers_;  // those that follow rank 0
  std::unique_ptr<detail::GradientReducer> reducer_;
};

}  // namespace lightning
