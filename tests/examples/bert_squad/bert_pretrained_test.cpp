#include <examples/bert_squad/pretrained.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/error.h>
#include <torch/utils.h>
#include <catch2/catch.hpp>

#include "support/temporary_folder.h"

using bert_squad::BertConfig;
using bert_squad::BertForQuestionAnswering;
using bert_squad::load_pretrained;
using bert_squad::LoadReport;
using Catch::Contains;
using lightning_tests::TemporaryFolder;

namespace {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

BertConfig small_config() {
  return {.vocab_size = 20,
          .hidden_size = 8,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .intermediate_size = 12,
          .max_position_embeddings = 10};
}

NamedTensors tensors_of(const BertForQuestionAnswering& model) {
  NamedTensors tensors;
  for (const auto& entry : model->named_parameters()) {
    tensors.emplace_back(entry.key(), entry.value().detach());
  }
  return tensors;
}

/// A model folder with the small config and the tensors of a model as changed by `edit`.
class ModelFolder {
 public:
  explicit ModelFolder(const std::function<void(NamedTensors&)>& edit = [](NamedTensors&) {}) {
    torch::manual_seed(1);
    model = BertForQuestionAnswering(small_config());
    NamedTensors tensors = tensors_of(model);
    edit(tensors);
    lightning::write_safetensors(folder / "model.safetensors", tensors);
    std::ofstream(folder / "config.json") << to_json(small_config());
  }

  TemporaryFolder folder;
  BertForQuestionAnswering model{nullptr};
};

void check_equal(const BertForQuestionAnswering& actual, const BertForQuestionAnswering& expected) {
  const auto parameters = expected->named_parameters();
  for (const auto& entry : actual->named_parameters()) {
    CAPTURE(entry.key());
    CHECK(entry.value().equal(parameters[entry.key()]));
  }
}

void remove_named(NamedTensors& tensors, const std::string& part) {
  std::erase_if(tensors,
                [&](const auto& entry) { return entry.first.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("load_pretrained reads what save_pretrained wrote", "[bert]") {
  torch::manual_seed(2);
  const BertForQuestionAnswering model(small_config());
  const TemporaryFolder folder;
  save_pretrained(*model, folder / "new/model");
  LoadReport report;
  const auto loaded = load_pretrained(folder / "new/model", &report);
  check_equal(loaded, model);
  CHECK(report.loaded.size() == model->parameters().size());
  CHECK(report.ignored.empty());
  CHECK(report.initialised.empty());
  CHECK(loaded->config().hidden_size == 8);
}

TEST_CASE("load_pretrained takes old names and leaves out what isn't needed", "[bert]") {
  const ModelFolder source([](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name.starts_with("bert.")) name = name.substr(5);
      if (const size_t at = name.find("LayerNorm."); at != std::string::npos) {
        name = name.substr(0, at + 10) + (name.ends_with("weight") ? "gamma" : "beta");
      }
    }
    tensors.emplace_back("embeddings.position_ids", torch::arange(10));
    tensors.emplace_back("pooler.dense.weight", torch::zeros({8, 8}));
    tensors.emplace_back("cls.predictions.bias", torch::zeros({20}));
  });
  LoadReport report;
  check_equal(load_pretrained(source.folder.path(), &report), source.model);
  std::sort(report.ignored.begin(), report.ignored.end());
  CHECK(report.ignored == std::vector<std::string>{"cls.predictions.bias",
                                                   "embeddings.position_ids",
                                                   "pooler.dense.weight"});
}

TEST_CASE("load_pretrained converts half precision", "[bert]") {
  for (const auto type : {torch::kHalf, torch::kBFloat16}) {
    const ModelFolder source([&](NamedTensors& tensors) {
      for (auto& [name, tensor] : tensors) tensor = tensor.to(type);
    });
    const auto loaded = load_pretrained(source.folder.path());
    const auto expected = source.model->named_parameters();
    for (const auto& entry : loaded->named_parameters()) {
      CHECK(entry.value().scalar_type() == torch::kFloat);
      CHECK(entry.value().equal(expected[entry.key()].to(type).to(torch::kFloat)));
    }
  }
}

TEST_CASE("load_pretrained draws a head that the file lacks and names it", "[bert]") {
  const ModelFolder source([](NamedTensors& tensors) { remove_named(tensors, "qa_outputs"); });
  LoadReport report;
  const auto loaded = load_pretrained(source.folder.path(), &report);
  CHECK(report.initialised == std::vector<std::string>{"qa_outputs.weight", "qa_outputs.bias"});
  const auto weight = loaded->named_parameters()["qa_outputs.weight"];
  CHECK(weight.abs().max().item<float>() < 0.1F);
  CHECK(weight.std().item<float>() > 0.005F);
}

TEST_CASE("load_pretrained refuses weights of another model and changes nothing", "[bert]") {
  struct Row {
    std::function<void(NamedTensors&)> edit;
    std::vector<const char*> messages;
  };
  const std::vector<Row> rows = {
      {[](NamedTensors& t) { remove_named(t, "layer.1."); },
       {"lacks 16 tensors", "bert.encoder.layer.1.attention.self.query.weight"}},
      {[](NamedTensors& t) {
         t.emplace_back("bert.encoder.layer.2.output.dense.bias", torch::zeros({8}));
       },
       {"has 1 tensors that the model doesn't", "layer.2.output.dense.bias"}},
      {[](NamedTensors& t) {
         t[0].second = torch::zeros({21, 8});
       },
       {"word_embeddings", "[21, 8] in the file", "[20, 8] in the model"}},
      {[](NamedTensors& t) {
         t[1].second = torch::zeros({10, 8}, torch::kLong);
       },
       {"position_embeddings", "expected F32, F16 or BF16"}},
      {[](NamedTensors& t) {
         t = {{"other.weight", torch::zeros({2})}};
       },
       {"lacks 37 tensors"}},
  };
  for (const auto& [edit, messages] : rows) {
    const ModelFolder source(edit);
    torch::manual_seed(3);
    BertForQuestionAnswering model(small_config());
    torch::manual_seed(3);
    const BertForQuestionAnswering untouched(small_config());
    for (const char* message : messages) {
      CHECK_THROWS_WITH(load_pretrained(*model, source.folder.path()), Contains(message));
    }
    CHECK_THROWS_AS(load_pretrained(*model, source.folder.path()), lightning::CheckpointError);
    check_equal(model, untouched);
  }
}

TEST_CASE("load_pretrained explains folders that it can't read", "[bert]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(load_pretrained(folder / "missing"),
                    Contains("no model.safetensors") && Contains("check the path"));
  CHECK_THROWS_WITH(load_pretrained(folder.path()), Contains("HINT"));
  std::ofstream(folder / "pytorch_model.bin") << "x";
  CHECK_THROWS_WITH(load_pretrained(folder.path()),
                    Contains("pytorch_model.bin") && Contains("safe_serialization"));
  std::ofstream(folder / "model.safetensors") << "truncated";
  std::ofstream(folder / "config.json") << to_json(small_config());
  CHECK_THROWS_AS(load_pretrained(folder.path()), lightning::CheckpointError);
}
