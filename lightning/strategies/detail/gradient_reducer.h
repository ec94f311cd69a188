/// GradientReducer: torch's c10d::Reducer as DDPStrategy uses it. The layout of the buckets is
/// fixed when it is made, ranks without a loss take part, and what the ranks must know of one
/// another's windows travels along with the gradients.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <lightning/strategies/ddp_options.h>
#include <lightning/strategies/strategy.h>

namespace c10d {
class ProcessGroup;
class Reducer;
}  // namespace c10d

namespace lightning::detail {

class GradientReducer {
 public:
  /// `parameters`: the trainable ones with their names, tied ones once, in order of use. Every rank
  /// must call it.
  GradientReducer(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                  at::Device device, const c10::intrusive_ptr<c10d::ProcessGroup>& group,
                  const DDPOptions& options);
  ~GradientReducer();

  /// The backward of a window's last micro-batch (undefined: it has no loss): the gradients become
  /// the means of all ranks'. `window`: what this rank has seen of it; becomes that of all ranks.
  void backward(const Strategy::RunBackward& run_backward, const at::Tensor& loss,
                AccumulationWindow& window);
  /// Size of the buckets, except for gradients that are views of them.
  int64_t bucket_bytes() const;

  /// After the first backward(): false with a static graph that it couldn't learn, because a rank
  /// had no loss. Then this reducer is of no more use. The same on all ranks.
  bool knows_graph() const { return knows_graph_; }

 private:
  void add_totals_parameter(at::Device device);
  void make_reducer(const c10::intrusive_ptr<c10d::ProcessGroup>& group);
  at::Tensor attach_totals(const at::Tensor& loss, const AccumulationWindow& window);
  void run(const Strategy::RunBackward& run_backward, const at::Tensor& loss,
           const at::Tensor& root);
  void check_complete(const at::Tensor& root);
  void check_part_in_loss(const at::Tensor& root) const;
  void read_totals(AccumulationWindow& window);
  void make_detachable();

  DDPOptions options_;
  int64_t world_size_;
  // In the order in which gradients are expected, with totals_ among them.
  std::vector<at::Tensor> parameters_;
  std::vector<std::string> names_;
  // A parameter of no use but that its gradient is reduced along with the others'.
  at::Tensor totals_;
  at::Tensor own_totals_;       // what this rank gives as its gradient
  std::vector<bool> in_graph_;  // static_graph: which of parameters_ have part in losses
  bool knows_graph_;
  bool first_window_ = true;
  std::unique_ptr<c10d::Reducer> reducer_;
};

}  // namespace lightning::detail
