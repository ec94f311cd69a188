#include <algorithm>
#include <cstring>
#include <utility>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <lightning/collectives/detail/backends.h>
#include <lightning/collectives/detail/completed_work.h>
#include <lightning/collectives/detail/shared_memory.h>

namespace lightning::detail {
namespace {

using Tensors = std::vector<at::Tensor>;

/// Collectives of ranks on one node. Each is done by the calling thread, block by block, when it
/// returns: no other thread has to be woken, and what is small enough stays in the caches.
class SharedMemoryBackend final : public c10d::Backend {
 public:
  explicit SharedMemoryBackend(std::unique_ptr<SharedMemory> memory)
      : c10d::Backend(memory->rank(), memory->size()), memory_(std::move(memory)) {}

  using Work = c10::intrusive_ptr<c10d::Work>;

  const std::string getBackendName() const override { return "shared_memory"; }

  Work allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    for (const at::Tensor& tensor : tensors) all_reduce(tensor, options.reduceOp);
    return completed_work(tensors);
  }
  Work allreduce_coalesced(Tensors& tensors,
                           const c10d::AllreduceCoalescedOptions& options) override {
    return allreduce(tensors, options);
  }
  Work broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    for (const at::Tensor& tensor : tensors) broadcast_from(options.rootRank, tensor);
    return completed_work(tensors);
  }
  Work allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                 const c10d::AllgatherOptions&) override {
    all_gather(inputs.at(0), outputs.at(0));
    return completed_work(outputs[0]);
  }
  Work _allgather_base(at::Tensor& output, at::Tensor& input,
                       const c10d::AllgatherOptions&) override {
    TORCH_CHECK(output.is_contiguous() && output.numel() == input.numel() * size_ &&
                    output.scalar_type() == input.scalar_type(),
                "all_gather got an output of ", output.sizes(), " of ", output.scalar_type(),
                " for an input of ", input.sizes(), " of ", input.scalar_type(), " on ", size_,
                " ranks, expected a contiguous output with ", input.numel() * size_,
                " elements of the input's type");
    const at::NoGradGuard no_grad;
    all_gather(input, output.view({size_, -1}).unbind(0));
    return completed_work({output});
  }
  // RecordingBackend has checked the sizes.
  Work reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                      const c10d::ReduceScatterOptions& options) override {
    const at::NoGradGuard no_grad;
    Tensors parts;
    for (const at::Tensor& part : inputs.at(0)) parts.push_back(flat(part.contiguous()));
    reduce_scatter_parts(parts, outputs.at(0), options.reduceOp);
    return completed_work({outputs[0]});
  }
  Work _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                            const c10d::ReduceScatterOptions& options) override {
    const at::NoGradGuard no_grad;
    reduce_scatter_parts(flat(input.contiguous()).view({size_, -1}).unbind(0), output,
                         options.reduceOp);
    return completed_work({output});
  }
  Work barrier(const c10d::BarrierOptions&) override {
    memory_->next_block();
    memory_->meet(announcement("barrier", at::kByte, 0, 0));
    return completed_work({});
  }

 private:
  static Announcement announcement(const char* collective, at::ScalarType dtype, int variant,
                                   int64_t bytes) {
    Announcement result;
    std::strncpy(result.collective, collective, sizeof(result.collective) - 1);
    result.dtype = static_cast<int32_t>(dtype);
    result.variant = variant;
    result.bytes = bytes;
    return result;
  }

  static at::Tensor flat(const at::Tensor& tensor) {
    TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous() && tensor.layout() == at::kStrided,
                "collectives in shared memory take contiguous dense tensors on the CPU");
    return tensor.view(-1);
  }

  /// How many elements like those of `tensor` a block holds.
  static int64_t block_elements(const at::Tensor& tensor) {
    return SharedMemory::kBlockBytes / static_cast<int64_t>(tensor.element_size());
  }

  /// Calls `step(begin, count)` for [0, total) in ranges of at most `most`, each time with new
  /// blocks; at least once.
  template <typename Step>
  void for_each_range(int64_t total, int64_t most, const Step& step) {
    int64_t begin = 0;
    do {
      memory_->next_block();
      step(begin, std::min(most, total - begin));
      begin += most;
    } while (begin < total);
  }

  /// Calls `step(chunk, begin)` for parts of `tensor` (flat) that fit into a block; at least once.
  template <typename Step>
  void for_each_chunk(const at::Tensor& tensor, const Step& step) {
    const at::NoGradGuard no_grad;
    const at::Tensor all = flat(tensor);
    const int64_t total = all.numel();
    for_each_range(total, block_elements(all), [&](int64_t begin, int64_t count) {
      step(count == total ? all : all.narrow(0, begin, count), begin);
    });
  }

  /// The block of a rank as a tensor like `chunk`; with `slice` the slice of that number, where a
  /// block holds several of the size of `chunk`.
  at::Tensor block(int rank, const at::Tensor& chunk, int slice = 0) const {
    return at::from_blob(memory_->block(rank) + static_cast<size_t>(slice) * chunk.nbytes(),
                         chunk.sizes(), chunk.options());
  }

  static void combine(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                      c10d::ReduceOp::RedOpType operation) {
    at::Tensor result = out;
    switch (operation) {
      case c10d::ReduceOp::SUM:
      case c10d::ReduceOp::AVG:
        at::add_out(result, a, b);
        return;
      case c10d::ReduceOp::MIN:
        at::minimum_out(result, a, b);
        return;
      case c10d::ReduceOp::MAX:
        at::maximum_out(result, a, b);
        return;
      default:
        TORCH_CHECK(false, "collectives in shared memory know SUM, AVG, MIN and MAX only");
    }
  }

  /// In the order of the ranks, so that every element has the same bits on all of them, and
  /// however the tensors are laid out.
  void combine_blocks(const at::Tensor& out, const Tensors& blocks,
                      c10d::ReduceOp::RedOpType operation) const {
    combine(out, blocks[0], blocks[1], operation);
    for (size_t r = 2; r < blocks.size(); ++r) combine(out, out, blocks[r], operation);
    if (operation == c10d::ReduceOp::AVG) at::Tensor(out).div_(size_);
  }

  void all_reduce(const at::Tensor& tensor, const c10d::ReduceOp& reduce_op) {
    const c10d::ReduceOp::RedOpType operation = reduce_op.op_;
    const Announcement what =
        announcement("all_reduce", tensor.scalar_type(), static_cast<int>(operation),
                     static_cast<int64_t>(tensor.nbytes()));
    for_each_chunk(tensor, [&](const at::Tensor& chunk, int64_t) {
      block(rank_, chunk).copy_(chunk);
      memory_->meet(what);
      Tensors blocks;
      for (int r = 0; r < size_; ++r) blocks.push_back(block(r, chunk));
      // With two ranks each reads as much either way.
      if (size_ == 2 || chunk.numel() < kFewElements) {
        combine_blocks(chunk, blocks, operation);
      } else {
        combine_own_part(chunk, blocks, operation);
      }
    });
  }

  /// Each rank combines a part of the chunk, puts it into its block and takes the other parts from
  /// there.
  void combine_own_part(const at::Tensor& chunk, const Tensors& blocks,
                        c10d::ReduceOp::RedOpType operation) {
    const auto part_of = [&](const at::Tensor& tensor, int rank) {
      const int64_t begin = tensor.numel() * rank / size_;
      return tensor.narrow(0, begin, tensor.numel() * (rank + 1) / size_ - begin);
    };
    Tensors own_parts;
    for (const at::Tensor& each : blocks) own_parts.push_back(part_of(each, rank_));
    const at::Tensor own = part_of(chunk, rank_);
    combine_blocks(own, own_parts, operation);
    own_parts[static_cast<size_t>(rank_)].copy_(own);
    memory_->meet_again();
    for (int r = 0; r < size_; ++r) {
      if (r != rank_) part_of(chunk, r).copy_(part_of(blocks[static_cast<size_t>(r)], r));
    }
  }

  /// Each rank puts a slice of every part into its block and combines those of its own part: with
  /// the bits that all_reduce() gives them. `parts`: flat, one for each rank, of the size and type
  /// of `output`, which may be this rank's part itself.
  void reduce_scatter_parts(const Tensors& parts, const at::Tensor& output,
                            const c10d::ReduceOp& reduce_op) {
    const c10d::ReduceOp::RedOpType operation = reduce_op.op_;
    const at::Tensor result = flat(output);
    const Announcement what =
        announcement("reduce_scatter", result.scalar_type(), static_cast<int>(operation),
                     static_cast<int64_t>(result.nbytes()) * size_);
    // Then the first ranks' sum would overwrite this rank's slice before it is added.
    const bool in_place = result.is_alias_of(parts.at(static_cast<size_t>(rank_)));
    const int64_t most = std::max<int64_t>(block_elements(result) / size_, 1);
    for_each_range(result.numel(), most, [&](int64_t begin, int64_t count) {
      const auto slice_of = [&](int rank) {
        return parts[static_cast<size_t>(rank)].narrow(0, begin, count);
      };
      for (int r = 0; r < size_; ++r) {
        if (r == rank_ && !in_place) continue;  // nobody else reads it
        const at::Tensor slice = slice_of(r);
        block(rank_, slice, r).copy_(slice);
      }
      memory_->meet(what);
      const at::Tensor out = result.narrow(0, begin, count);
      Tensors slices;
      for (int r = 0; r < size_; ++r) {
        slices.push_back(r == rank_ && !in_place ? slice_of(r) : block(r, out, rank_));
      }
      combine_blocks(out, slices, operation);
    });
  }

  void broadcast_from(int64_t root, const at::Tensor& tensor) {
    const Announcement what =
        announcement("broadcast", tensor.scalar_type(), static_cast<int>(root),
                     static_cast<int64_t>(tensor.nbytes()));
    for_each_chunk(tensor, [&](at::Tensor chunk, int64_t) {
      if (root == rank_) block(rank_, chunk).copy_(chunk);
      memory_->meet(what);
      if (root != rank_) chunk.copy_(block(static_cast<int>(root), chunk));
    });
  }

  void all_gather(const at::Tensor& input, const Tensors& outputs) {
    const Announcement what =
        announcement("all_gather", input.scalar_type(), 0, static_cast<int64_t>(input.nbytes()));
    TORCH_CHECK(static_cast<int>(outputs.size()) == size_, "all_gather got ", outputs.size(),
                " outputs for ", size_, " ranks");
    for_each_chunk(input, [&](const at::Tensor& chunk, int64_t begin) {
      block(rank_, chunk).copy_(chunk);
      memory_->meet(what);
      for (int r = 0; r < size_; ++r) {
        outputs[static_cast<size_t>(r)]
            .view(-1)
            .narrow(0, begin, chunk.numel())
            .copy_(block(r, chunk));
      }
    });
  }

  // Below this many, to meet once more costs more than to read all blocks.
  static constexpr int64_t kFewElements = 4096;

  std::unique_ptr<SharedMemory> memory_;
};

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_shared_memory_backend(
    ControlPlane& control, std::function<void()> throw_if_failed) {
  auto memory = SharedMemory::create(control, std::move(throw_if_failed));
  if (memory == nullptr) return nullptr;
  return c10::make_intrusive<SharedMemoryBackend>(std::move(memory));
}

}  // namespace lightning::detail
