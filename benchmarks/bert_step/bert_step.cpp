// Times one training step (forward, backward, fused AdamW) of BERT with a question-answering head
// on random tokens, on the CPU, and shows where the time goes.
//
//   bert_step [--batch 8] [--tokens 192] [--steps 10] [--threads 2] [--precision bf16|float]
//             [--dropout 0.1] [--padding 0.0] [--profile]
//
// --profile adds the processor time of each operation in one step; use it with --threads 1.
// The model has the sizes of MiniLM-L6. --padding is the share of tokens that is padding.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/autocast_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/record_function.h>
#include <sys/resource.h>
#include <time.h>
#include <torch/torch.h>

#include <examples/bert_squad/bert_model.h>

namespace {

struct Settings {
  int64_t batch = 8;
  int64_t tokens = 192;
  int64_t steps = 10;
  int threads = 2;
  bool bf16 = true;
  double dropout = 0.1;
  double padding = 0.0;
  bool profile = false;
};

Settings parse(int count, char** values) {
  Settings settings;
  for (int i = 1; i < count; ++i) {
    const std::string name = values[i];
    if (name == "--profile") {
      settings.profile = true;
      continue;
    }
    const std::string value = i + 1 < count ? values[++i] : "";
    if (name == "--batch") settings.batch = std::stoll(value);
    if (name == "--tokens") settings.tokens = std::stoll(value);
    if (name == "--steps") settings.steps = std::stoll(value);
    if (name == "--threads") settings.threads = std::stoi(value);
    if (name == "--precision") settings.bf16 = value == "bf16";
    if (name == "--dropout") settings.dropout = std::stod(value);
    if (name == "--padding") settings.padding = std::stod(value);
  }
  return settings;
}

/// The fused kernel with its state, and nothing of an optimizer besides.
class FusedAdamW {
 public:
  explicit FusedAdamW(std::vector<at::Tensor> parameters) : parameters_(std::move(parameters)) {
    for (const at::Tensor& parameter : parameters_) {
      averages_.push_back(at::zeros_like(parameter));
      squares_.push_back(at::zeros_like(parameter));
      steps_.push_back(at::zeros({}));
    }
  }

  void step() {
    const torch::NoGradGuard no_grad;
    std::vector<at::Tensor> grads;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      grads.push_back(parameters_[i].grad());
      steps_[i] += 1;
    }
    at::_fused_adamw_(parameters_, grads, averages_, squares_, {}, steps_, /*lr=*/5e-5,
                      /*beta1=*/0.9, /*beta2=*/0.999, /*weight_decay=*/0.01, /*eps=*/1e-8,
                      /*amsgrad=*/false, /*maximize=*/false);
    for (at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
  }

 private:
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> averages_;
  std::vector<at::Tensor> squares_;
  std::vector<at::Tensor> steps_;
};

struct Inputs {
  at::Tensor ids;
  at::Tensor types;
  at::Tensor mask;
  at::Tensor starts;
  at::Tensor ends;
};

Inputs random_inputs(const Settings& settings) {
  const auto shape = {settings.batch, settings.tokens};
  const auto longest = static_cast<double>(settings.tokens);
  // One row is full, the others lack twice the mean padding, with a spread.
  const at::Tensor lengths =
      (longest * (1 - settings.padding * at::linspace(0, 2, settings.batch))).floor().clamp_min(1);
  const at::Tensor mask = (at::arange(settings.tokens) < lengths.unsqueeze(1)).to(at::kLong);
  return {at::randint(1000, 30000, shape, at::kLong) * mask, at::zeros(shape, at::kLong), mask,
          at::randint(0, 20, {settings.batch}, at::kLong),
          at::randint(0, 20, {settings.batch}, at::kLong)};
}

double run_step(bert_squad::BertForQuestionAnswering& model, FusedAdamW& optimizer,
                const Inputs& inputs, bool bf16) {
  at::Tensor loss;
  at::autocast::set_autocast_enabled(at::kCPU, bf16);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  const auto logits = model->forward(inputs.ids, inputs.types, inputs.mask);
  loss = bert_squad::span_loss(logits, inputs.starts, inputs.ends);
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  loss.backward();
  optimizer.step();
  return loss.item<double>();
}

/// Processor time of this thread, self and per operation. With one thread that is all there is,
/// and unlike the wall clock it doesn't mind other programs.
class Profile {
 public:
  Profile() {
    running = this;
    handle_ = at::addGlobalCallback(at::RecordFunctionCallback(begin, end));
  }
  ~Profile() { at::removeCallback(handle_); }
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  void print() {
    std::vector<std::pair<std::string, Total>> sorted(totals_.begin(), totals_.end());
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.second.self_ms > b.second.self_ms; });
    double all = 0;
    for (const auto& entry : sorted) all += entry.second.self_ms;
    sorted.resize(std::min<size_t>(sorted.size(), 25));
    for (const auto& [name, total] : sorted) {
      std::printf("%8.2f ms %5.1f%% %5ld x %s\n", total.self_ms, 100 * total.self_ms / all,
                  static_cast<long>(total.calls), name.c_str());
    }
    std::printf("%8.2f ms in all\n", all);
  }

 private:
  struct Total {
    double self_ms = 0;
    int64_t calls = 0;
  };
  struct Open {
    double begin_ms;
    double children_ms;
  };

  static double now_ms() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
  }
  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction&) {
    running->open_.push_back({now_ms(), 0});
    return nullptr;
  }
  static void end(const at::RecordFunction& function, at::ObserverContext*) {
    std::vector<Open>& open = running->open_;
    const double ms = now_ms() - open.back().begin_ms;
    Total& total = running->totals_[function.name()];
    total.self_ms += ms - open.back().children_ms;
    ++total.calls;
    open.pop_back();
    if (!open.empty()) open.back().children_ms += ms;
  }

  static inline Profile* running = nullptr;
  at::CallbackHandle handle_ = 0;
  std::map<std::string, Total> totals_;
  std::vector<Open> open_;
};

rusage resource_usage() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

/// Of all threads, in user and system mode.
double cpu_milliseconds(const rusage& usage) {
  const auto milliseconds = [](const timeval& time) {
    return 1e3 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_usec);
  };
  return milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime);
}

}  // namespace

int main(int argument_count, char** arguments) {
  const Settings settings = parse(argument_count, arguments);
  at::set_num_threads(settings.threads);
  torch::manual_seed(1);
  bert_squad::BertConfig config{.hidden_size = 384,
                                .num_hidden_layers = 6,
                                .num_attention_heads = 12,
                                .intermediate_size = 1536,
                                .hidden_dropout_prob = settings.dropout,
                                .attention_probs_dropout_prob = settings.dropout};
  bert_squad::BertForQuestionAnswering model(config);
  FusedAdamW optimizer(model->parameters());
  const Inputs inputs = random_inputs(settings);
  const auto step = [&] { return run_step(model, optimizer, inputs, settings.bf16); };
  step();
  step();
  std::vector<double> times;
  double loss = 0;
  const rusage before = resource_usage();
  for (int64_t i = 0; i < settings.steps; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    loss = step();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    times.push_back(time.count());
  }
  const rusage after = resource_usage();
  std::sort(times.begin(), times.end());
  const double steps = static_cast<double>(settings.steps);
  std::printf(
      "%ld x %ld tokens, %s, %d threads: median %.1f ms, fastest %.1f, slowest %.1f; "
      "processor time %.1f ms; %.0f page faults; loss %.4f\n",
      static_cast<long>(settings.batch), static_cast<long>(settings.tokens),
      settings.bf16 ? "bf16" : "float", settings.threads, times[times.size() / 2], times.front(),
      times.back(), (cpu_milliseconds(after) - cpu_milliseconds(before)) / steps,
      static_cast<double>(after.ru_minflt - before.ru_minflt) / steps, loss);
  if (settings.profile) {
    Profile profile;
    step();
    profile.print();
  }
  return 0;
}
