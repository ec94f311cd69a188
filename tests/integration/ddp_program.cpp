// Trains a small model as one rank of several, in many ways, and writes what came of it.
//   ddp_program RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT [BACKEND]
// One process (world size 1) trains on the same global batches: the reference for all others.
// OUTPUT is a safetensors file: tensors are named "case/name", texts are in its metadata.
#include <iostream>
#include <map>

#include <ATen/Parallel.h>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/collectives/process_group.h>
#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>
#include <lightning/lightning.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/optim/adadelta.h>
#include <lightning/precision/detail/modes.h>
#include <lightning/strategies/ddp.h>
#include <lightning/strategies/detail/single_device.h>
#include <lightning/strategies/synchronize_batch_norm.h>
#include <lightning/util/error.h>

using lightning::DDPOptions;

namespace {

constexpr int64_t kRows = 12;  // of a global batch
constexpr int64_t kInputs = 6;

struct World {
  lightning::Topology topology;
  std::shared_ptr<lightning::ControlPlane> control;
  std::shared_ptr<lightning::ProcessGroup> group;
  std::shared_ptr<lightning::World> all;
  lightning::StrategyContext context() const { return {at::kCPU, topology, all.get()}; }
  int64_t rank() const { return topology.global_rank; }
  int64_t size() const { return topology.world_size; }
};

enum class Share { kEven, kUneven, kSomeSkip };

struct Case {
  std::string name;
  DDPOptions ddp = {};
  at::ScalarType dtype = at::kDouble;
  std::string optimizer = "sgd";  // those of LibTorch begin with torch_
  int64_t steps = 20;
  int64_t accumulate = 1;
  Share share = Share::kEven;
  bool weighted = false;
  // Which parts of the model the loss takes: both heads, the one that the step or the row says,
  // one.
  std::string heads = "both";
  bool batch_norm = false;
  // The layers in the opposite order, so that gradients arrive in another than they are expected.
  bool registered_backwards = false;
  bool spare = false;                 // a parameter that nothing uses
  bool freezes = false;               // the first layer, from step 8 to step 14
  int64_t restart = 0;                // a new strategy, before this step
  bool keeps_zero_gradients = false;  // zero_grad(set_to_none = false)
  std::optional<double> clip = std::nullopt;
};

// ---- data: the same on every rank

/// Rows `first` to `last` of all rows of the run.
at::Tensor data(int64_t first, int64_t last, int64_t columns, double frequency) {
  const at::Tensor row = torch::arange(first, last, torch::kFloat64).unsqueeze(1);
  const at::Tensor column = torch::arange(columns, torch::kFloat64);
  return (row * frequency + column * 1.7).sin() + 0.1 * (row * 0.9 - column).cos();
}

/// The rows of a global batch that a rank takes: {first, last}.
std::pair<int64_t, int64_t> share_of(const World& world, Share share, int64_t step) {
  static const std::map<int64_t, std::vector<int64_t>> kUneven = {
      {1, {12}}, {2, {9, 3}}, {3, {2, 3, 7}}, {4, {5, 1, 4, 2}}};
  static const std::map<int64_t, std::vector<int64_t>> kSkipping = {
      {1, {12}}, {2, {12, 0}}, {3, {0, 12, 0}}, {4, {6, 0, 6, 0}}};
  std::vector<int64_t> sizes(static_cast<size_t>(world.size()), kRows / world.size());
  if (share == Share::kUneven) sizes = kUneven.at(world.size());
  if (share == Share::kSomeSkip && step % 3 == 0) sizes = kSkipping.at(world.size());
  if (share == Share::kSomeSkip && step == 7) sizes.assign(sizes.size(), 0);
  int64_t first = 0;
  for (int64_t r = 0; r < world.rank(); ++r) first += sizes[static_cast<size_t>(r)];
  return {first, first + sizes[static_cast<size_t>(world.rank())]};
}

// ---- the model

/// Calls a function when backward comes by.
class Probe : public torch::autograd::Function<Probe> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            int64_t* target, int64_t group) {
    context->saved_data["target"] = reinterpret_cast<int64_t>(target);
    context->saved_data["group"] = group;
    return input.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    const auto* group =
        reinterpret_cast<lightning::ProcessGroup*>(context->saved_data["group"].toInt());
    *reinterpret_cast<int64_t*>(context->saved_data["target"].toInt()) = group->counters().messages;
    return {grads[0], at::Tensor(), at::Tensor()};
  }
};

class Model : public lightning::LightningModule {
 public:
  explicit Model(const Case& options) : options_(options) {
    using torch::nn::Linear;
    first = Linear(kInputs, 16);
    second = Linear(16, 8);
    head_a = Linear(8, 3);
    head_b = Linear(8, 3);
    std::vector<std::pair<std::string, Linear>> layers = {{"first", first},
                                                          {"second", second},
                                                          {"second_again", second},  // tied
                                                          {"head_a", head_a},
                                                          {"head_b", head_b}};
    if (options.registered_backwards) std::reverse(layers.begin(), layers.end());
    for (const auto& [name, layer] : layers) register_module(name, layer);
    if (options.batch_norm) norm = register_module("norm", lightning::nn::BatchNorm(16));
    if (options.spare) register_parameter("spare", torch::ones({4}));
    visits = register_buffer("visits", torch::zeros({1}));
    const torch::NoGradGuard no_grad;
    double seed = 0.0;
    for (const at::Tensor& parameter :
         {first->weight, first->bias, second->weight, second->bias, head_a->weight, head_a->bias,
          head_b->weight, head_b->bias}) {
      const at::Tensor index = torch::arange(parameter.numel(), torch::kFloat64);
      parameter.copy_(((index + seed) * 1.3).sin().mul(0.4).reshape(parameter.sizes()));
      seed += 11.0;
    }
    // Not lightning's Precision: float64 data in, whatever the weights are.
    to(options.dtype);
  }

  /// The mean of the rows' losses.
  at::Tensor loss(const at::Tensor& x, const at::Tensor& y, int64_t first_row, int64_t step) {
    at::Tensor hidden = first->forward(x);
    if (probe_group != nullptr) {
      hidden = Probe::apply(hidden, &messages_at_probe, reinterpret_cast<int64_t>(probe_group));
    }
    if (norm) hidden = norm->forward(hidden);
    hidden = second->forward(hidden.tanh()).tanh();
    return torch::mse_loss(heads(hidden, first_row, step), y);
  }

  void set_heads(const std::string& heads) { options_.heads = heads; }

  torch::nn::Linear first{nullptr}, second{nullptr}, head_a{nullptr}, head_b{nullptr};
  lightning::nn::BatchNorm norm{nullptr};
  at::Tensor visits;
  lightning::ProcessGroup* probe_group = nullptr;
  int64_t messages_at_probe = 0;

 private:
  at::Tensor heads(const at::Tensor& hidden, int64_t first_row, int64_t step) {
    if (options_.heads == "a") return head_a->forward(hidden);
    if (options_.heads == "by_step") {
      return step % 2 == 0 ? head_a->forward(hidden) : head_b->forward(hidden);
    }
    if (options_.heads == "by_row") {
      const int64_t of_a = std::clamp<int64_t>(kRows / 2 - first_row, 0, hidden.size(0));
      std::vector<at::Tensor> parts;
      if (of_a > 0) parts.push_back(head_a->forward(hidden.narrow(0, 0, of_a)));
      if (of_a < hidden.size(0)) {
        parts.push_back(head_b->forward(hidden.narrow(0, of_a, hidden.size(0) - of_a)));
      }
      return torch::cat(parts);
    }
    return head_a->forward(hidden) + 0.5 * head_b->forward(hidden);
  }

  Case options_;
};

std::shared_ptr<torch::optim::Optimizer> make_optimizer(const std::string& name,
                                                        const Model& model) {
  // Tied ones once, as the Trainer's validate_parameters() does it.
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& p : model.parameters()) {
    const auto same = [&](const at::Tensor& other) { return other.is_same(p); };
    if (std::none_of(parameters.begin(), parameters.end(), same)) parameters.push_back(p);
  }
  if (name == "adamw") {
    return std::make_shared<lightning::optim::AdamW>(
        parameters, torch::optim::AdamWOptions(0.01).weight_decay(0.1));
  }
  if (name == "adam" || name == "amsgrad") {
    return std::make_shared<lightning::optim::Adam>(
        parameters, torch::optim::AdamOptions(0.01).weight_decay(0.1).amsgrad(name == "amsgrad"));
  }
  if (name == "adadelta") return std::make_shared<lightning::optim::Adadelta>(parameters);
  if (name == "torch_adam") {
    return std::make_shared<torch::optim::Adam>(parameters, torch::optim::AdamOptions(0.01));
  }
  if (name == "torch_adamw") {
    return std::make_shared<torch::optim::AdamW>(parameters, torch::optim::AdamWOptions(0.01));
  }
  if (name == "torch_rmsprop") {
    return std::make_shared<torch::optim::RMSprop>(
        parameters, torch::optim::RMSpropOptions(0.01).centered(true).momentum(0.9));
  }
  if (name == "torch_adagrad") {
    return std::make_shared<torch::optim::Adagrad>(parameters, torch::optim::AdagradOptions(0.05));
  }
  const auto options = torch::optim::SGDOptions(0.05).momentum(0.9);
  if (name == "torch_sgd") return std::make_shared<torch::optim::SGD>(parameters, options);
  LIGHTNING_CHECK(name == "sgd", ConfigError, "no optimizer ", name);
  return std::make_shared<lightning::optim::SGD>(parameters, options);
}

// ---- training, as the Trainer's loop does it

using Results = std::vector<std::pair<std::string, at::Tensor>>;

class Run {
 public:
  Run(const World& world, const Case& options)
      : world_(world), case_(options), model_(std::make_shared<Model>(options)) {
    if (options.batch_norm) lightning::synchronize_batch_norm(*model_, world.group);
    make_strategy();
    optimizer_ = make_optimizer(options.optimizer, *model_);
    precision_ = std::make_unique<lightning::Float32Precision>(at::kCPU);
    model_->train();
  }

  Model& model() { return *model_; }
  lightning::Strategy& strategy() { return *strategy_; }

  void train() {
    for (int64_t step = 0; step < case_.steps; ++step) run_step(step);
  }

  void run_step(int64_t step) {
    if (case_.restart > 0 && step == case_.restart) make_strategy();
    if (case_.freezes) {
      for (const at::Tensor& p : model_->first->parameters()) {
        p.set_requires_grad(step < 8 || step >= 14);
      }
    }
    const int64_t before = world_.group->counters().messages;
    double loss_sum = 0.0;
    int64_t rows = 0;
    for (int64_t micro = 0; micro < case_.accumulate; ++micro) {
      if (micro == 0) strategy_->begin_window(*model_);
      run_micro_batch(step, micro, loss_sum, rows);
    }
    messages_.push_back(world_.group->counters().messages - before);
    loss_sums_.push_back(loss_sum);
    row_counts_.push_back(static_cast<double>(rows));
    const lightning::AccumulationWindow& window = strategy_->window();
    if (!window.has_data) return;
    precision_->prepare_gradients(*optimizer_, window.weight, case_.clip.has_value());
    model_->configure_gradient_clipping(*optimizer_, case_.clip,
                                        lightning::GradientClipAlgorithm::kNorm);
    precision_->step(*optimizer_);
    precision_->end_window();
    ++optimizer_steps_;
  }

  Results results() const {
    Results results;
    for (const auto& p : model_->named_parameters()) {
      results.emplace_back("parameters/" + p.key(), p.value().detach().clone());
    }
    for (const auto& b : model_->named_buffers()) {
      results.emplace_back("buffers/" + b.key(), b.value().clone());
    }
    results.emplace_back("loss_sums", torch::tensor(loss_sums_, torch::kFloat64));
    results.emplace_back("rows", torch::tensor(row_counts_, torch::kFloat64));
    results.emplace_back("messages", torch::tensor(messages_));
    results.emplace_back("optimizer_steps", torch::tensor(optimizer_steps_));
    return results;
  }

 private:
  void make_strategy() {
    strategy_.reset();
    if (world_.size() == 1) {
      strategy_ = std::make_unique<lightning::SingleDeviceStrategy>(world_.context());
    } else {
      strategy_ = std::make_unique<lightning::DDPStrategy>(world_.context(), case_.ddp);
    }
    strategy_->setup(*model_);
  }

  void run_micro_batch(int64_t step, int64_t micro, double& loss_sum, int64_t& rows) {
    const bool last = micro + 1 == case_.accumulate;
    const auto [first, end] = share_of(world_, case_.share, step);
    model_->visits.add_(static_cast<double>(world_.rank() + 1));
    at::Tensor loss, weight;
    if (end > first) {
      const int64_t offset = (step * case_.accumulate + micro) * kRows;
      const at::Tensor x = data(offset + first, offset + end, kInputs, 0.37).to(case_.dtype);
      const at::Tensor y = data(offset + first, offset + end, 3, 0.21).to(case_.dtype);
      loss = model_->loss(x, y, first, step);
      loss_sum += loss.item<double>() * static_cast<double>(end - first);
      rows += end - first;
      if (case_.weighted) {
        weight = torch::tensor(static_cast<double>(end - first), torch::kFloat64);
        loss = loss * weight.to(case_.dtype);
      } else {
        loss = loss / case_.accumulate;
        // What ranks without a loss make of the mean over ranks (2 and 4 ranks: half of them).
        const bool halved = case_.share == Share::kSomeSkip && step % 3 == 0 && world_.size() == 1;
        if (halved) loss = loss / 2;
      }
    }
    if (micro == 0) optimizer_->zero_grad(/*set_to_none=*/!case_.keeps_zero_gradients);
    strategy_->backward([this](const at::Tensor& root) { model_->backward(root); }, loss, weight,
                        last);
  }

  const World& world_;
  Case case_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<lightning::Strategy> strategy_;
  std::shared_ptr<torch::optim::Optimizer> optimizer_;
  std::unique_ptr<lightning::Precision> precision_;
  std::vector<double> loss_sums_, row_counts_;
  std::vector<int64_t> messages_;
  int64_t optimizer_steps_ = 0;
};

// ---- the cases

constexpr double kSmallBuckets = 200.0 / (1 << 20);  // bytes: three or four of them

std::vector<Case> cases() {
  const DDPOptions small{.bucket_cap_mb = kSmallBuckets};
  const DDPOptions views{.gradient_as_bucket_view = true, .bucket_cap_mb = kSmallBuckets};
  const DDPOptions unused{.find_unused_parameters = true, .bucket_cap_mb = kSmallBuckets};
  const DDPOptions unused_views{.find_unused_parameters = true,
                                .gradient_as_bucket_view = true,
                                .bucket_cap_mb = kSmallBuckets};
  const DDPOptions fixed{.static_graph = true, .bucket_cap_mb = kSmallBuckets};
  const DDPOptions fixed_views{
      .static_graph = true, .gradient_as_bucket_view = true, .bucket_cap_mb = kSmallBuckets};
  // static_graph goes first.
  const DDPOptions fixed_unused{
      .find_unused_parameters = true, .static_graph = true, .bucket_cap_mb = kSmallBuckets};
  return {
      {.name = "plain", .clip = 0.5},
      {.name = "buckets", .ddp = small, .optimizer = "adamw"},
      {.name = "restart", .ddp = small, .optimizer = "adamw", .restart = 9},
      {.name = "backwards", .ddp = small, .optimizer = "adamw", .registered_backwards = true},
      {.name = "backwards_restart",
       .ddp = small,
       .optimizer = "adamw",
       .registered_backwards = true,
       .restart = 9},
      {.name = "accumulate", .optimizer = "torch_adam", .accumulate = 3},
      {.name = "adam", .optimizer = "adam", .share = Share::kUneven, .weighted = true},
      {.name = "amsgrad", .ddp = views, .optimizer = "amsgrad", .clip = 0.5},
      {.name = "adadelta", .ddp = small, .optimizer = "adadelta", .accumulate = 2},
      {.name = "adadelta_unused",
       .ddp = unused,
       .optimizer = "adadelta",
       .heads = "by_row",
       .spare = true},
      {.name = "torch_adamw", .ddp = views, .optimizer = "torch_adamw", .accumulate = 2},
      {.name = "torch_rmsprop", .ddp = fixed, .optimizer = "torch_rmsprop"},
      {.name = "torch_adagrad",
       .ddp = small,
       .optimizer = "torch_adagrad",
       .share = Share::kUneven,
       .weighted = true},
      {.name = "views", .ddp = views, .optimizer = "torch_sgd", .accumulate = 2},
      {.name = "views_in_place",
       .ddp = views,
       .optimizer = "torch_sgd",
       .accumulate = 2,
       .keeps_zero_gradients = true},
      {.name = "in_place", .optimizer = "torch_sgd", .keeps_zero_gradients = true},
      {.name = "weights", .share = Share::kUneven, .weighted = true},
      {.name = "weights_accumulate",
       .ddp = views,
       .optimizer = "adamw",
       .accumulate = 2,
       .share = Share::kUneven,
       .weighted = true,
       .clip = 0.5},
      {.name = "skip", .share = Share::kSomeSkip},
      {.name = "skip_weights",
       .ddp = views,
       .optimizer = "adamw",
       .accumulate = 2,
       .share = Share::kSomeSkip,
       .weighted = true},
      {.name = "unused_by_step",
       .ddp = unused,
       .optimizer = "adamw",
       .heads = "by_step",
       .spare = true},
      {.name = "unused_by_rank",
       .ddp = unused,
       .optimizer = "adamw",
       .accumulate = 2,
       .heads = "by_row",
       .spare = true},
      {.name = "unused_views",
       .ddp = unused_views,
       .optimizer = "adamw",
       .heads = "by_row",
       .spare = true},
      {.name = "unused_skip",
       .ddp = unused,
       .optimizer = "adamw",
       .share = Share::kSomeSkip,
       .weighted = true,
       .heads = "by_step",
       .spare = true},
      {.name = "freezes", .ddp = views, .optimizer = "adamw", .freezes = true},
      {.name = "static", .ddp = fixed, .optimizer = "adamw"},
      {.name = "static_restart", .ddp = fixed, .optimizer = "adamw", .restart = 9},
      {.name = "static_accumulate", .ddp = fixed, .optimizer = "torch_adam", .accumulate = 3},
      {.name = "static_views",
       .ddp = fixed_views,
       .optimizer = "torch_sgd",
       .accumulate = 2,
       .restart = 9,
       .keeps_zero_gradients = true},
      {.name = "static_weights",
       .ddp = fixed_views,
       .optimizer = "adamw",
       .accumulate = 2,
       .share = Share::kUneven,
       .weighted = true,
       .clip = 0.5},
      // The first window in which every rank has a loss is the second one.
      {.name = "static_skip",
       .ddp = fixed,
       .optimizer = "adamw",
       .accumulate = 2,
       .share = Share::kSomeSkip,
       .weighted = true},
      {.name = "static_skip_views", .ddp = fixed_views, .share = Share::kSomeSkip},
      {.name = "static_unused",
       .ddp = fixed_unused,
       .optimizer = "adamw",
       .accumulate = 2,
       .heads = "a",
       .spare = true},
      {.name = "static_unused_by_rank",
       .ddp = fixed_unused,
       .optimizer = "adamw",
       .accumulate = 2,
       .heads = "by_row",
       .spare = true},
      {.name = "static_unused_views",
       .ddp = fixed_views,
       .optimizer = "adamw",
       .heads = "by_row",
       .spare = true},
      {.name = "static_unused_skip",
       .ddp = fixed,
       .optimizer = "adamw",
       .accumulate = 2,
       .share = Share::kSomeSkip,
       .weighted = true,
       .heads = "a",
       .spare = true},
      {.name = "static_freezes", .ddp = fixed_views, .optimizer = "adamw", .freezes = true},
      {.name = "batch_norm", .share = Share::kUneven, .weighted = true, .batch_norm = true},
      {.name = "batch_norm_accumulate", .ddp = small, .accumulate = 2, .batch_norm = true},
      {.name = "float32", .dtype = at::kFloat},
      {.name = "float32_weights", .dtype = at::kFloat, .share = Share::kUneven, .weighted = true},
      {.name = "float32_adamw", .dtype = at::kFloat, .optimizer = "adamw"},
      {.name = "float32_accumulate", .dtype = at::kFloat, .accumulate = 3},
      {.name = "float32_static",
       .ddp = {.static_graph = true},
       .dtype = at::kFloat,
       .heads = "a",
       .spare = true},
      {.name = "float32_static_accumulate",
       .ddp = {.static_graph = true},
       .dtype = at::kFloat,
       .accumulate = 3},
      {.name = "float32_unused",
       .ddp = {.find_unused_parameters = true},
       .dtype = at::kFloat,
       .heads = "by_row",
       .spare = true},
      {.name = "fp16",
       .ddp = {.comm_hook = lightning::CommHook::kFp16Compress},
       .dtype = at::kFloat},
      {.name = "fp16_static",
       .ddp = {.static_graph = true, .comm_hook = lightning::CommHook::kFp16Compress},
       .dtype = at::kFloat,
       .accumulate = 2},
      {.name = "bf16",
       .ddp = {.gradient_as_bucket_view = true, .comm_hook = lightning::CommHook::kBf16Compress},
       .dtype = at::kFloat,
       .share = Share::kUneven,
       .weighted = true},
      {.name = "own_buffers", .ddp = {.broadcast_buffers = false}, .steps = 3},
  };
}

/// The message of the ConfigError that `body` throws.
template <typename Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const lightning::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// Cases that must end in an error, by name.
std::map<std::string, std::string> errors(const World& world) {
  std::map<std::string, std::string> texts;
  const bool other = world.rank() == 1;
  texts["unused"] = error_of([&] {
    Run(world, {.name = "", .ddp = {.bucket_cap_mb = kSmallBuckets}, .heads = "a", .spare = true})
        .train();
  });
  // The first step with some heads, the second one with others.
  const auto changing_graph = [&](const std::string& first, const std::string& second) {
    return error_of([&] {
      Run run(world, {.name = "",
                      .ddp = {.static_graph = true, .bucket_cap_mb = kSmallBuckets},
                      .heads = first});
      run.run_step(0);
      run.model().set_heads(second);
      run.run_step(1);
    });
  };
  texts["graph_loses"] = changing_graph("both", "a");
  texts["graph_gains"] = changing_graph("a", "both");
  const auto setup_error = [&](const auto& change) {
    return error_of([&] {
      Case options{.name = "", .spare = other && change == std::string("missing")};
      Model model(options);
      DDPOptions ddp;
      if (other && change == std::string("shape")) {
        model.head_b->weight.set_data(torch::zeros({5, 8}, torch::kFloat64));
      }
      if (other && change == std::string("dtype")) model.head_b->to(at::kFloat);
      if (other && change == std::string("frozen")) model.head_a->bias.set_requires_grad(false);
      if (other && change == std::string("options")) ddp.bucket_cap_mb = 10.0;
      lightning::DDPStrategy(world.context(), ddp).setup(model);
    });
  };
  for (const char* change : {"shape", "dtype", "frozen", "missing", "options"}) {
    texts[change] = setup_error(std::string(change));
  }
  texts["mixed_weights"] = error_of([&] {
    Run run(world, {.name = ""});
    const at::Tensor x = torch::ones({1, kInputs}, torch::kFloat64);
    run.strategy().begin_window(run.model());
    run.strategy().backward([](const at::Tensor& loss) { loss.backward(); },
                            run.model().loss(x, torch::zeros({1, 3}, torch::kFloat64), 0, 0),
                            other ? torch::ones({}) : at::Tensor(), /*last_in_window=*/true);
  });
  return texts;
}

/// How many messages had left when the gradient of the first layer was yet to come, and in all.
at::Tensor overlap(const World& world) {
  Run run(world, {.name = "", .ddp = {.bucket_cap_mb = kSmallBuckets, .broadcast_buffers = false}});
  run.run_step(0);  // makes the reducer
  run.model().probe_group = world.group.get();
  const int64_t before = world.group->counters().messages;
  run.run_step(1);
  return torch::tensor(
      {run.model().messages_at_probe - before, world.group->counters().messages - before});
}

World join(int64_t rank, int64_t size, const std::string& rendezvous_file,
           lightning::ProcessGroupBackend backend) {
  World world;
  world.topology.world_size = world.topology.local_world_size = size;
  world.topology.global_rank = world.topology.local_rank = rank;
  world.topology.main_ports = {0};
  world.topology.run_id = "ddp_program";
  world.topology.rendezvous_file = rendezvous_file;
  if (size == 1) {
    world.group = lightning::ProcessGroup::single();
    return world;
  }
  world.control = lightning::detail::connect_control_plane(world.topology, {});
  world.group = lightning::ProcessGroup::create(world.control, at::kCPU, backend);
  world.all = lightning::World::from_parts(world.topology, at::kCPU, world.control, world.group);
  return world;
}

int run_program(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::cerr << "ddp_program RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT [BACKEND]\n";
    return 2;
  }
  at::set_num_threads(1);
  // Between ranks of one machine "auto" is shared memory.
  const std::string backend = argc == 6 ? argv[5] : "auto";
  const World world = join(std::stoll(argv[1]), std::stoll(argv[2]), argv[3],
                           backend == "gloo" ? lightning::ProcessGroupBackend::kGloo
                                             : lightning::ProcessGroupBackend::kAuto);
  if (backend != "auto" && world.group->backend() != backend) {
    throw std::runtime_error("the backend is " + std::string(world.group->backend()));
  }
  Results results;
  std::map<std::string, std::string> texts;
  for (const Case& options : cases()) {
    Run run(world, options);
    if (options.name == "float32") {
      for (const auto& p : run.model().named_parameters()) {
        results.emplace_back("initial/" + p.key(), p.value().detach().clone());
      }
    }
    const int64_t bytes = world.group->counters().bytes;
    try {
      run.train();
    } catch (const std::exception& error) {
      throw std::runtime_error(options.name + ": " + error.what());
    }
    for (auto& [name, tensor] : run.results()) {
      results.emplace_back(options.name + "/" + name, tensor);
    }
    results.emplace_back(options.name + "/bytes",
                         torch::tensor(world.group->counters().bytes - bytes));
  }
  if (world.size() > 1) {
    texts = errors(world);
    results.emplace_back("overlap", overlap(world));
  }
  lightning::write_safetensors(argv[4], results, texts);
  if (world.control) world.control->leave();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
