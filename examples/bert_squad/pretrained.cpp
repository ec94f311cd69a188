#include "pretrained.h"

#include <map>
#include <set>
#include <string_view>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>

#include "weight_files.h"
#include "wordpiece.h"

namespace bert_squad {

namespace fs = std::filesystem;
using lightning::CheckpointError;
using lightning::SafetensorsInfo;

namespace {

constexpr std::string_view kEncoderPrefix = "bert.";
constexpr std::string_view kHeadPrefix = "qa_outputs.";

bool replace_suffix(std::string& name, std::string_view from, std::string_view to) {
  if (!name.ends_with(from)) return false;
  name.replace(name.size() - from.size(), from.size(), to);
  return true;
}

/// The name that a tensor of the files has in the model.
std::string model_name(std::string name) {
  // Of models inside a LightningModule, DataParallel or torch.compile.
  static constexpr std::string_view kWrappers[] = {"model.", "module.", "_orig_mod."};
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view wrapper : kWrappers) {
      if (!name.starts_with(wrapper)) continue;
      name.erase(0, wrapper.size());
      found = true;
    }
  }
  replace_suffix(name, "LayerNorm.gamma", "LayerNorm.weight") ||
      replace_suffix(name, "LayerNorm.beta", "LayerNorm.bias");
  if (name.starts_with("embeddings.") || name.starts_with("encoder.")) {
    name.insert(0, kEncoderPrefix);
  }
  return name;
}

/// Whether a tensor that the model doesn't have means that the model is another one.
bool belongs_to_encoder(const std::string& name) {
  return name.starts_with("bert.embeddings.") || name.starts_with("bert.encoder.");
}

/// Whether it is known that question answering has no use for a tensor.
bool is_known_rest(const std::string& name) {
  return name == "position_ids" || name.ends_with(".position_ids") ||
         name.starts_with("bert.pooler.") || name.starts_with("pooler.") ||
         name.starts_with("cls.");
}

std::string join(const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

std::string to_text(at::IntArrayRef shape) { return lightning::detail::concat(shape); }

using Shapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

/// The parameters of a model, in its order, without the model: their memory is taken only for sizes
/// that the files confirm.
Shapes parameter_shapes(const BertConfig& config) {
  const int64_t hidden = config.hidden_size;
  Shapes shapes;
  const auto dense = [&](const std::string& name, int64_t inputs, int64_t outputs) {
    shapes.push_back({name + ".weight", {outputs, inputs}});
    shapes.push_back({name + ".bias", {outputs}});
  };
  const auto norm = [&](const std::string& name) {
    shapes.push_back({name + ".LayerNorm.weight", {hidden}});
    shapes.push_back({name + ".LayerNorm.bias", {hidden}});
  };
  const std::string embeddings = "bert.embeddings";
  shapes.push_back({embeddings + ".word_embeddings.weight", {config.vocab_size, hidden}});
  shapes.push_back(
      {embeddings + ".position_embeddings.weight", {config.max_position_embeddings, hidden}});
  shapes.push_back(
      {embeddings + ".token_type_embeddings.weight", {config.type_vocab_size, hidden}});
  norm(embeddings);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = "bert.encoder.layer." + std::to_string(i);
    for (const char* part : {"query", "key", "value"}) {
      dense(layer + ".attention.self." + part, hidden, hidden);
    }
    dense(layer + ".attention.output.dense", hidden, hidden);
    norm(layer + ".attention.output");
    dense(layer + ".intermediate.dense", hidden, config.intermediate_size);
    dense(layer + ".output.dense", config.intermediate_size, hidden);
    norm(layer + ".output");
  }
  dense("qa_outputs", hidden, 2);
  return shapes;
}

/// Which tensor of the files goes to which parameter; made and checked before anything is copied.
struct Plan {
  std::vector<std::pair<std::string, const WeightFiles::Tensor*>> sources;
  LoadReport report;
};

void check_match(const fs::path& file, const SafetensorsInfo& info,
                 const std::vector<int64_t>& shape) {
  LIGHTNING_CHECK(info.shape == shape, CheckpointError, "load_pretrained: ", file.string(), ": \"",
                  info.name, "\" is ", to_text(info.shape), " in the file but ", to_text(shape),
                  " in the model. HINT: build the model from the config.json beside it.");
  LIGHTNING_CHECK(
      info.dtype == at::kFloat || info.dtype == at::kHalf || info.dtype == at::kBFloat16,
      CheckpointError, "load_pretrained: ", file.string(), ": \"", info.name, "\" is ",
      c10::toString(info.dtype),
      ", expected F32, F16 or BF16. HINT: convert it, as in "
      "model.float().save_pretrained(FOLDER).");
}

Plan make_plan(const WeightFiles& files, const BertConfig& config) {
  const fs::path& path = files.path();
  const Shapes shapes = parameter_shapes(config);
  std::set<std::string_view> parameters;
  for (const auto& [name, shape] : shapes) parameters.insert(name);
  std::map<std::string, const WeightFiles::Tensor*> by_name;
  Plan plan;
  std::vector<std::string> foreign;
  for (const WeightFiles::Tensor& tensor : files.tensors()) {
    const std::string name = model_name(tensor.info->name);
    if (parameters.contains(name)) {
      const auto [entry, is_new] = by_name.emplace(name, &tensor);
      LIGHTNING_CHECK(is_new, CheckpointError, "load_pretrained: ", path.string(), ": \"",
                      entry->second->info->name, "\" and \"", tensor.info->name,
                      "\" are both the parameter ", name,
                      ", expected one of them. HINT: save the weights of one model only.");
    } else if (is_known_rest(name)) {
      plan.report.ignored.push_back(tensor.info->name);
    } else if (belongs_to_encoder(name)) {
      foreign.push_back(tensor.info->name);
    } else {
      plan.report.unexpected.push_back(tensor.info->name);
    }
  }
  std::vector<std::string> missing;
  for (const auto& [name, shape] : shapes) {
    const auto found = by_name.find(name);
    if (found != by_name.end()) {
      check_match(path, *found->second->info, shape);
      plan.sources.emplace_back(name, found->second);
      plan.report.loaded.push_back(name);
    } else if (name.starts_with(kHeadPrefix)) {
      plan.report.initialised.push_back(name);
    } else {
      missing.push_back(name);
    }
  }
  LIGHTNING_CHECK(missing.empty(), CheckpointError, "load_pretrained: ", path.string(), " lacks ",
                  missing.size(), " tensors of the encoder: ", join(missing),
                  ". HINT: give the weights of a BERT model with the sizes in its config.json.");
  LIGHTNING_CHECK(foreign.empty(), CheckpointError, "load_pretrained: ", path.string(), " has ",
                  foreign.size(), " tensors that the model doesn't: ", join(foreign),
                  ". HINT: build the model from the config.json beside it.");
  LIGHTNING_CHECK(plan.report.initialised.size() != 1, CheckpointError,
                  "load_pretrained: ", path.string(), " lacks ", join(plan.report.initialised),
                  " but has the other part of the head, expected both or none. HINT: save the "
                  "model again.");
  return plan;
}

LoadReport copy_weights(BertForQuestionAnsweringImpl& model, const WeightFiles& files, Plan plan) {
  const torch::NoGradGuard no_grad;
  if (!plan.report.has_head()) model.initialise_head();
  auto parameters = model.named_parameters();
  for (const auto& [name, tensor] : plan.sources) files.read_into(*tensor, parameters[name]);
  if (!plan.report.unexpected.empty()) {
    lightning::log_warning(lightning::detail::concat(
        files.path().string(), ": ", plan.report.unexpected.size(),
        " tensors are not of this model and are left out: ", join(plan.report.unexpected), "."));
  }
  return std::move(plan.report);
}

/// An adapter is a part of the model that lies beside the weights.
void refuse_adapter(const fs::path& folder) {
  std::error_code ignored;
  LIGHTNING_CHECK(!fs::exists(folder / "adapter_config.json", ignored), CheckpointError,
                  "load_pretrained: ", folder.string(),
                  " holds an adapter (adapter_config.json), expected whole weights. HINT: merge it "
                  "into its model with merge_and_unload() of peft and save that.");
}

}  // namespace

LoadReport load_pretrained(BertForQuestionAnsweringImpl& model, const fs::path& folder) {
  const WeightFiles files(folder);
  refuse_adapter(folder);
  return copy_weights(model, files, make_plan(files, model.config()));
}

BertForQuestionAnswering load_pretrained(const fs::path& folder, const BertConfig& config,
                                         LoadReport* report) {
  const WeightFiles files(folder);
  refuse_adapter(folder);
  check_bert_config(config);
  Plan plan = make_plan(files, config);
  BertForQuestionAnswering model(config, BertInit::kNone);
  LoadReport loaded = copy_weights(*model, files, std::move(plan));
  if (report != nullptr) *report = std::move(loaded);
  return model;
}

BertForQuestionAnswering load_pretrained(const fs::path& folder, LoadReport* report) {
  const WeightFiles files(folder);  // the clearer error, when the folder holds neither file
  return load_pretrained(folder, read_bert_config(folder / "config.json"), report);
}

void check_same_model(const BertConfig& config, const WordPieceTokenizer& tokenizer,
                      const fs::path& folder) {
  const auto size = tokenizer.vocab_size();
  const bool ends_blank = size > 0 && tokenizer.token(static_cast<int32_t>(size - 1)).empty();
  LIGHTNING_CHECK(!ends_blank || size <= config.vocab_size, ConfigError, "model folder ",
                  folder.string(), ": the tokenizer has ", size,
                  " tokens and config.json's vocab_size is ", config.vocab_size,
                  ", expected no more than that; the last token is a blank line at the end of "
                  "vocab.txt. HINT: remove that line.");
  LIGHTNING_CHECK(
      size <= config.vocab_size, ConfigError, "model folder ", folder.string(),
      ": the tokenizer has ", size, " tokens and config.json's vocab_size is ", config.vocab_size,
      ", expected no more than that. HINT: the files are of different models, or tokens "
      "were added without model.resize_token_embeddings(len(tokenizer)).");
}

void save_pretrained(const BertForQuestionAnsweringImpl& model, const fs::path& folder) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& entry : model.named_parameters()) {
    tensors.emplace_back(entry.key(), entry.value().detach().to(at::kFloat));
  }
  lightning::FileSystem::current().create_directories(folder);
  lightning::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  lightning::write_file_atomically(folder / "config.json", to_json(model.config()));
}

}  // namespace bert_squad
