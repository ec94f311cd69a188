#include <lightning/callbacks/model_summary.h>

#include <cstdio>
#include <unordered_set>

#include <lightning/util/detail/text_table.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

struct Count {
  int64_t trainable = 0;
  int64_t frozen = 0;
  int64_t bytes = 0;
};

Count count_parameters(const torch::nn::Module& module) {
  Count count;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const at::Tensor& parameter : module.parameters()) {
    if (!seen.insert(parameter.unsafeGetTensorImpl()).second) continue;
    (parameter.requires_grad() ? count.trainable : count.frozen) += parameter.numel();
    count.bytes += static_cast<int64_t>(parameter.nbytes());
  }
  return count;
}

/// 22.7 M, 109 K, 570.
std::string short_count(int64_t count) {
  static const char* const kUnits[] = {"", " K", " M", " B", " T"};
  double value = static_cast<double>(count);
  size_t unit = 0;
  for (; value >= 1000.0 && unit < 4; ++unit) value /= 1000.0;
  char text[32];
  std::snprintf(text, sizeof(text), unit > 0 && value < 100.0 ? "%.1f%s" : "%.0f%s", value,
                kUnits[unit]);
  return text;
}

std::string type_name(const torch::nn::Module& module) {
  const std::string name = module.name();
  const size_t colon = name.rfind("::");
  std::string last = colon == std::string::npos ? name : name.substr(colon + 2);
  if (last.ends_with("Impl")) last.resize(last.size() - 4);
  return last;
}

void add_rows(TextTable& table, const torch::nn::Module& module, const std::string& prefix,
              int64_t depth) {
  if (depth == 0) return;
  for (const auto& child : module.named_children()) {
    const std::string name = prefix.empty() ? child.key() : prefix + "." + child.key();
    const Count count = count_parameters(*child.value());
    table.add_row({name, type_name(*child.value()), short_count(count.trainable + count.frozen),
                   child.value()->is_training() ? "train" : "eval"});
    add_rows(table, *child.value(), name, depth < 0 ? depth : depth - 1);
  }
}

}  // namespace

std::string summarize(const torch::nn::Module& module, int64_t max_depth) {
  TextTable table({"name", "type", "params", "mode"});
  table.align_right(2);
  add_rows(table, module, "", max_depth);
  const Count total = count_parameters(module);
  char size[64];
  std::snprintf(size, sizeof(size), "%.3f MB of parameters",
                static_cast<double>(total.bytes) / 1e6);
  const std::string rows = max_depth == 0 ? std::string() : table.to_text() + "\n\n";
  return rows + detail::concat(short_count(total.trainable), " trainable, ",
                               short_count(total.frozen), " frozen, ",
                               short_count(total.trainable + total.frozen), " in all; ", size);
}

ModelSummary::ModelSummary(ModelSummaryOptions options) : options_(options) {
  LIGHTNING_CHECK(options_.max_depth >= -1, ConfigError, "ModelSummary: max_depth is ",
                  options_.max_depth, ", expected -1 or more. HINT: use -1 for all levels.");
}

void ModelSummary::on_fit_start(TrainerContext& trainer, LightningModule& module) {
  trainer.print(summarize(module, options_.max_depth));
}

}  // namespace lightning
