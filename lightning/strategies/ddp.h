/// DDPStrategy: each rank has a whole replica and a part of each batch; gradients are averaged
/// over ranks while backward still runs, by torch's own c10d::Reducer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/strategies/ddp_options.h>
#include <lightning/strategies/strategy.h>
#include <lightning/util/export.h>

namespace lightning {

namespace detail {
class GradientReducer;
}

/// Beyond Strategy's contract:
/// - setup() compares names, shapes, dtypes and requires_grad of all parameters and buffers over
///   ranks, and so does the first window and the first one of each set of trainable parameters.
///   ConfigError names rank and parameter.
/// - Without find_unused_parameters and static_graph backward() throws ConfigError naming the
///   trainable parameters that did not contribute to the window's last loss; with static_graph,
///   those that contributed to the loss of the first window or of this one, but not to both.
/// Sync: none on a GPU, but in the first window and on ranks that skip a whole window.
class LIGHTNING_API DDPStrategy : public Strategy {
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
  std::vector<bool> trainable() const;
  /// That of the parameters that are trainable now; a set that is new is compared over the ranks.
  detail::GradientReducer& present_reducer();
  void drop_present_reducer();

  DDPOptions options_;
  // Tied tensors once, in named order.
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  std::vector<at::Tensor> buffers_;  // those that follow rank 0
  std::vector<bool> compared_;  // of parameters_, the trainable ones when all ranks compared them
  /// By set of trainable parameters, the oldest first: those that are toggled come and go with
  /// every batch.
  struct Reducer {
    std::vector<bool> trainable;
    std::unique_ptr<detail::GradientReducer> reducer;
  };
  std::vector<Reducer> reducers_;
};

}  // namespace lightning
