/// Batch: what a DataLoader yields and a LightningModule's steps receive. A small ordered map from
/// names to tensors, with positional access for plain (x, y) data.
#pragma once

#include <any>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API Batch {
 public:
  using Item = std::pair<std::string, at::Tensor>;

  Batch() = default;
  /// Batch({{"image", x}, {"label", y}}).
  Batch(std::initializer_list<Item> items) : items_(items) {}

  /// The tensor of that name; throws DataError that lists the names there are.
  const at::Tensor& operator[](std::string_view name) const;
  /// The tensor at a position (0 for x, 1 for y of (x, y) data); throws DataError beyond the end.
  const at::Tensor& operator[](int64_t position) const;

  /// Adds a tensor, or replaces the one of that name.
  void set(std::string_view name, at::Tensor tensor);
  bool contains(std::string_view name) const;
  const std::vector<Item>& items() const& { return items_; }
  /// By value from a temporary, which is gone before a loop over its items begins.
  std::vector<Item> items() && { return std::move(items_); }
  int64_t size() const { return static_cast<int64_t>(items_.size()); }
  bool empty() const { return items_.empty(); }

  /// Number of samples, as set by the collate: the weight of this batch in epoch means. Never
  /// guessed from shapes; 0 means not set.
  int64_t batch_size() const { return batch_size_; }
  void set_batch_size(int64_t batch_size) { batch_size_ = batch_size; }

  /// Weight of this rank in the global batch: its samples times the number of ranks, divided by the
  /// samples of all ranks. 1 unless the ranks' parts differ in size; the mean over the ranks of
  /// rank_weight * loss is then the loss of one process on the global batch. Set by the DataLoader.
  double rank_weight() const { return rank_weight_; }
  void set_rank_weight(double weight) { rank_weight_ = weight; }
  /// Whether this batch only keeps the rank in step at the ragged end of an epoch: its samples are
  /// those of a different rank, and count neither in gradients nor in metrics.
  bool is_padding() const { return rank_weight_ == 0.0; }

  /// Index of the loader that yielded this batch, when there are several.
  int64_t dataloader_idx() const { return dataloader_idx_; }
  void set_dataloader_idx(int64_t index) { dataloader_idx_ = index; }

  /// Anything that is not a tensor (strings, ids, ragged data); travels along untouched.
  void set_payload(std::any payload) { payload_ = std::move(payload); }
  bool has_payload() const { return payload_.has_value(); }
  const std::any& any_payload() const { return payload_; }
  /// Throws DataError when there is no payload or it is of a different type.
  template <typename T>
  const T& payload() const& {
    const T* value = std::any_cast<T>(&payload_);
    if (value == nullptr) throw_wrong_payload(typeid(T));
    return *value;
  }
  template <typename T>
  T payload() && {
    return std::as_const(*this).template payload<T>();
  }

  /// A copy with every tensor on `device` (tensors already there are shared, not copied).
  /// Sync: with non_blocking and pinned tensors the host doesn't wait.
  Batch to(at::Device device, bool non_blocking = false) const;
  /// A copy with every floating-point tensor converted to `dtype`.
  Batch to(at::ScalarType dtype) const;
  /// A copy in pinned memory, from which copies to a GPU run asynchronously. Needs CUDA.
  Batch pin_memory() const;

 private:
  [[noreturn]] void throw_wrong_payload(const std::type_info& asked) const;
  template <typename F>
  Batch transformed(F&& f) const;

  std::vector<Item> items_;
  std::any payload_;
  int64_t batch_size_ = 0;
  double rank_weight_ = 1.0;
  int64_t dataloader_idx_ = 0;
};

}  // namespace lightning
