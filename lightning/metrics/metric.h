/// Metric: what is computed over many batches from sums, extremes or all values, not as a mean of
/// the batches' results. Its whole state is a list of named tensors, each with the way in which the
/// states of parts become that of the whole: so it can be saved, resumed, and reduced over ranks by
/// code that knows nothing of the metric.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning::metrics {

/// How the states of two parts become one: element by element, or one after the other along the
/// first dimension.
enum class StateReduceFx : uint8_t { kSum, kMin, kMax, kCat };

/// One tensor of a metric's state. kSum, kMin and kMax: of a shape that the metric's options give;
/// kCat: [n, ...], where n grows with what update() was given.
struct MetricState {
  std::string name;
  StateReduceFx reduce_fx = StateReduceFx::kSum;
  at::Tensor value;
};

/// Base class. A subclass declares its states in its constructor, has an update() with the
/// arguments that suit it, and do_compute().
///
/// - Device: a state is on the device of the inputs of the last update(), on the CPU before the
///   first.
/// - Sync: update() and reset() never wait for the device. So they check types and shapes; class
///   indices that don't exist are counted and reported by compute(), which may wait.
/// - Ranks: none is known here. The result over all ranks is that of merge() over their states().
/// - Not thread-safe.
class LIGHTNING_API Metric {
 public:
  virtual ~Metric();
  Metric(const Metric&) = delete;  // tensors of a copy would be the same memory
  Metric& operator=(const Metric&) = delete;

  /// Name for messages, and of the type in checkpoints ("Accuracy").
  std::string_view name() const { return name_; }

  /// The value over all that update() was given since reset(): float64 and 0-dim unless the class
  /// says otherwise. Throws DataError when update() was given values that have no meaning.
  at::Tensor compute() const;
  /// As if nothing had been given to update().
  void reset();

  // ---- the present batch, kept apart from those before it
  /// The value over what update() was given since the last compute_batch(), begin_batch() or
  /// reset(), in the form of compute(); the next batch begins after it. compute() counts all. What
  /// LightningModule::log() calls for on_step.
  at::Tensor compute_batch();
  /// What update() is given from here on is the present batch.
  void begin_batch();
  /// Forgets what the present batch gave; without a batch that was begun, nothing.
  void drop_batch();

  /// Copies, in the order in which the class declares them.
  std::vector<MetricState> states() const;
  /// Replaces the state by what states() of a metric with the same options gave, on any device.
  /// Throws ConfigError that names the state, and changes nothing, when names, types, or shapes
  /// differ.
  void set_states(const std::vector<MetricState>& states);
  /// Makes this the state of both parts, as if update() had been given what the other one was given
  /// as well, after its own. Throws as set_states() does.
  /// What has come before belongs to no batch any more.
  void merge(const std::vector<MetricState>& other);

  /// For checkpoints: exact resume.
  StateDict state_dict() const;
  /// Throws CheckpointError that names the entry, and changes nothing, when the saved state is that
  /// of a different metric or its types or shapes don't fit.
  void load_state_dict(const StateDict& state);

 protected:
  explicit Metric(std::string name) : name_(std::move(name)) {}

  /// To be called in the constructor. The value of an empty metric is 0 (kSum), the greatest (kMin)
  /// or the least value (kMax) of the type, or n = 0 rows (kCat: `shape` is that of one row). All
  /// kCat states of a metric have the same n.
  void add_state(std::string name, StateReduceFx reduce_fx, at::IntArrayRef shape,
                 at::ScalarType dtype);
  /// For changes in update(): of a batch that is kept apart its own part. Not kCat.
  at::Tensor& state(std::string_view name);
  /// A kCat state is made of its parts at each call.
  at::Tensor state(std::string_view name) const;
  /// Adds rows to a kCat state, which keeps the tensor: it must not be changed afterwards.
  void append(std::string_view name, const at::Tensor& rows);
  /// The number in a 0-dim int64 state. Sync: waits for the device.
  int64_t counted(std::string_view name) const;

  /// To be made at the beginning of update(): moves the state to the device of `input`, and
  /// switches gradients off, and inference mode, whose tensors couldn't be changed later.
  class LIGHTNING_API UpdateScope {
   public:
    UpdateScope(Metric& metric, const at::Tensor& input);

   private:
    c10::InferenceMode no_inference_{false};
    at::NoGradGuard no_grad_;
  };

 private:
  struct State {
    std::string name;
    StateReduceFx reduce_fx;
    at::Tensor value;                // kCat: no rows, for type and shape
    std::vector<at::Tensor> chunks;  // kCat: the rows, on the same device
    // While the present batch is kept apart, what came before it; `value` is the batch's then.
    at::Tensor before;         // not kCat
    size_t chunks_before = 0;  // kCat
  };
  /// What of a state is asked for.
  enum class Part { kAll, kBefore, kBatch };

  virtual at::Tensor do_compute() const = 0;

  size_t index_of(std::string_view name) const;
  at::Tensor joined(const State& state, Part part) const;
  /// Makes the present batch one with what came before it.
  void end_batch();
  static void assign(State& state, const at::Tensor& value);
  /// What keeps `states` from being those of a metric like this one; empty: nothing.
  std::string fault_of(const std::vector<MetricState>& states) const;

  std::string name_;
  std::vector<State> states_;
  bool has_batch_ = false;   // the present batch is kept apart
  Part shown_ = Part::kAll;  // to do_compute()
};

}  // namespace lightning::metrics
