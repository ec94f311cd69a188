#include "pretrained.h"

#include <map>
#include <optional>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace bert_squad {

namespace fs = std::filesystem;
using lightning::CheckpointError;
using lightning::SafetensorsFile;
using lightning::SafetensorsInfo;

namespace {

constexpr std::string_view kEncoderPrefix = "bert.";
constexpr std::string_view kHeadPrefix = "qa_outputs.";

bool replace_suffix(std::string& name, std::string_view from, std::string_view to) {
  if (!name.ends_with(from)) return false;
  name.replace(name.size() - from.size(), from.size(), to);
  return true;
}

/// The name that a tensor of the file has in the model.
std::string model_name(std::string name) {
  replace_suffix(name, "LayerNorm.gamma", "LayerNorm.weight") ||
      replace_suffix(name, "LayerNorm.beta", "LayerNorm.bias");
  if (name.starts_with("embeddings.") || name.starts_with("encoder.")) {
    name.insert(0, kEncoderPrefix);
  }
  return name;
}

/// Whether a tensor that the model doesn't have means that the model is another one.
bool belongs_to_encoder(const std::string& name) {
  return !name.ends_with(".position_ids") &&
         (name.starts_with("bert.embeddings.") || name.starts_with("bert.encoder."));
}

fs::path weights_file(const fs::path& folder) {
  const fs::path file = folder / "model.safetensors";
  std::error_code ignored;
  if (fs::is_regular_file(file, ignored)) return file;
  const auto has = [&](const char* name) { return fs::exists(folder / name, ignored); };
  const char* hint = "give a model folder as Hugging Face saves it.";
  if (!fs::is_directory(folder, ignored)) {
    hint = "check the path; a model folder holds config.json and model.safetensors.";
  } else if (has("pytorch_model.bin")) {
    hint =
        "its pytorch_model.bin is a pickle, which isn't read; convert it in Python with "
        "AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True).";
  } else if (has("model.safetensors.index.json")) {
    hint =
        "its weights are in several files; save them as one with save_pretrained(folder, "
        "max_shard_size=\"100GB\").";
  }
  throw CheckpointError(lightning::detail::concat("load_pretrained: no model.safetensors in ",
                                                  folder.string(), ". HINT: ", hint));
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

/// Which tensor of the file goes to which parameter; made and checked before anything is copied.
struct Plan {
  std::vector<std::pair<std::string, std::string>> sources;  // parameter, tensor of the file
  LoadReport report;
};

void check_match(const fs::path& file, const SafetensorsInfo& info, const at::Tensor& parameter) {
  LIGHTNING_CHECK(at::IntArrayRef(info.shape) == parameter.sizes(), CheckpointError,
                  "load_pretrained: ", file.string(), ": \"", info.name, "\" is ",
                  to_text(info.shape), " in the file but ", to_text(parameter.sizes()),
                  " in the model. HINT: build the model from the config.json beside it.");
  LIGHTNING_CHECK(
      info.dtype == at::kFloat || info.dtype == at::kHalf || info.dtype == at::kBFloat16,
      CheckpointError, "load_pretrained: ", file.string(), ": \"", info.name, "\" is ",
      c10::toString(info.dtype), ", expected F32, F16 or BF16.");
}

Plan make_plan(const fs::path& path, const SafetensorsFile& file,
               const torch::OrderedDict<std::string, at::Tensor>& parameters) {
  std::map<std::string, const SafetensorsInfo*> by_name;
  Plan plan;
  std::vector<std::string> unexpected;
  for (const SafetensorsInfo& info : file.tensors()) {
    const std::string name = model_name(info.name);
    if (parameters.contains(name)) {
      by_name[name] = &info;
    } else if (belongs_to_encoder(name)) {
      unexpected.push_back(info.name);
    } else {
      plan.report.ignored.push_back(info.name);
    }
  }
  std::vector<std::string> missing;
  for (const auto& entry : parameters) {
    const std::string& name = entry.key();
    const auto found = by_name.find(name);
    if (found != by_name.end()) {
      check_match(path, *found->second, entry.value());
      plan.sources.emplace_back(name, found->second->name);
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
  LIGHTNING_CHECK(unexpected.empty(), CheckpointError, "load_pretrained: ", path.string(), " has ",
                  unexpected.size(), " tensors that the model doesn't: ", join(unexpected),
                  ". HINT: build the model from the config.json beside it.");
  return plan;
}

}  // namespace

LoadReport load_pretrained(BertForQuestionAnsweringImpl& model, const fs::path& folder) {
  const fs::path path = weights_file(folder);
  const SafetensorsFile file(path);
  auto parameters = model.named_parameters();
  Plan plan = make_plan(path, file, parameters);
  const torch::NoGradGuard no_grad;
  if (!plan.report.initialised.empty()) model.initialise_head();
  for (const auto& [name, source] : plan.sources) file.read_into(source, parameters[name]);
  return std::move(plan.report);
}

BertForQuestionAnswering load_pretrained(const fs::path& folder, LoadReport* report) {
  weights_file(folder);  // the clearer error, when the folder holds neither file
  BertForQuestionAnswering model(read_bert_config(folder / "config.json"), BertInit::kNone);
  LoadReport loaded = load_pretrained(*model, folder);
  if (report != nullptr) *report = std::move(loaded);
  return model;
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
