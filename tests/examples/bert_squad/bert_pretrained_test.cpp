#include <examples/bert_squad/pretrained.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <iomanip>
#include <map>

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

/// The same with the weights in two files and an index. Made anew by each `edit` of what is
/// written.
class ShardedFolder {
 public:
  explicit ShardedFolder(const std::function<void(ShardedFolder&)>& edit = [](ShardedFolder&) {}) {
    torch::manual_seed(1);
    model = BertForQuestionAnswering(small_config());
    for (const auto& entry : tensors_of(model)) {
      const size_t part = parts[0].size() < 20 ? 0 : 1;
      parts[part].push_back(entry);
      file_of[entry.first] = "part-" + std::to_string(part) + ".safetensors";
    }
    edit(*this);
    for (size_t i = 0; i < 2; ++i) {
      lightning::write_safetensors(folder / ("part-" + std::to_string(i) + ".safetensors"),
                                   parts[i]);
    }
    std::ofstream index(folder / "model.safetensors.index.json");
    index << R"({"metadata": {"total_size": 1}, "weight_map": {)";
    const char* separator = "";
    for (const auto& [tensor, file] : file_of) {
      index << separator << std::quoted(tensor) << ": " << std::quoted(file);
      separator = ", ";
    }
    index << "}" << rest << "}";
    std::ofstream(folder / "config.json") << to_json(small_config());
  }

  TemporaryFolder folder;
  BertForQuestionAnswering model{nullptr};
  std::array<NamedTensors, 2> parts;
  std::map<std::string, std::string> file_of;
  std::string rest;  // of the index
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

TEST_CASE("load_pretrained takes the prefixes of models inside others", "[bert]") {
  for (const std::string prefix :
       {"model.", "module.", "module.model.", "_orig_mod.", "model._orig_mod."}) {
    for (const bool has_bert : {true, false}) {
      CAPTURE(prefix, has_bert);
      const ModelFolder source([&](NamedTensors& tensors) {
        for (auto& [name, tensor] : tensors) {
          if (!has_bert && name.starts_with("bert.")) name = name.substr(5);
          name = prefix + name;
        }
        tensors.emplace_back(prefix + "bert.pooler.dense.weight", torch::zeros({8, 8}));
      });
      LoadReport report;
      check_equal(load_pretrained(source.folder.path(), &report), source.model);
      CHECK(report.has_head());
      CHECK(report.unexpected.empty());
    }
  }
}

TEST_CASE("load_pretrained names tensors of other heads", "[bert]") {
  const ModelFolder source([](NamedTensors& tensors) {
    tensors.emplace_back("classifier.weight", torch::zeros({3, 8}));
    tensors.emplace_back("cls.seq_relationship.weight", torch::zeros({2, 8}));
  });
  LoadReport report;
  check_equal(load_pretrained(source.folder.path(), &report), source.model);
  CHECK(report.unexpected == std::vector<std::string>{"classifier.weight"});
  CHECK(report.ignored == std::vector<std::string>{"cls.seq_relationship.weight"});
}

TEST_CASE("load_pretrained reads weights in several files", "[bert]") {
  const ShardedFolder source;
  LoadReport report;
  check_equal(load_pretrained(source.folder.path(), &report), source.model);
  CHECK(report.has_head());
  CHECK(report.loaded.size() == source.model->parameters().size());
}

TEST_CASE("An index that doesn't fit its files is an error that names both", "[bert]") {
  struct Row {
    std::function<void(ShardedFolder&)> edit;
    std::vector<const char*> messages;
  };
  const auto renamed = [](const char* name) {
    return [name](ShardedFolder& s) { s.file_of["qa_outputs.bias"] = name; };
  };
  const std::vector<Row> rows = {
      {renamed("../part-0.safetensors"), {"qa_outputs.bias", "\"../part-0.safetensors\""}},
      {renamed("/etc/part.safetensors"), {"\"/etc/part.safetensors\"", "in the same folder"}},
      {renamed("a\\b.safetensors"), {"in the same folder"}},
      {renamed(".safetensors"), {"in the same folder"}},
      {renamed("part-0.bin"), {"\"part-0.bin\"", "in the same folder"}},
      {renamed("none.safetensors"), {"none.safetensors", "no such regular file"}},
      {renamed("folder.safetensors"), {"folder.safetensors", "no such regular file"}},
      {renamed("part-0.safetensors"),
       {"says that tensor qa_outputs.bias is in part-0.safetensors"}},
      {[](ShardedFolder& s) { s.file_of["more"] = "part-1.safetensors"; },
       {"says that tensor more is in part-1.safetensors", "doesn't hold it"}},
      {[](ShardedFolder& s) { s.file_of.erase("qa_outputs.bias"); },
       {"holds the tensor qa_outputs.bias", "doesn't name"}},
      {[](ShardedFolder& s) { s.parts[0].emplace_back("qa_outputs.bias", torch::zeros({2})); },
       {"part-0.safetensors holds the tensor qa_outputs.bias", "to another file"}},
      {[](ShardedFolder& s) { s.rest = ", \"shards\": 2"; }, {"\"shards\" is 2"}},
      {[](ShardedFolder& s) { s.rest = ", \"weight_map\": {}"; }, {"twice"}},
      {[](ShardedFolder& s) { s.file_of.clear(); }, {"\"weight_map\" is {}"}},
  };
  for (const auto& [edit, messages] : rows) {
    ShardedFolder source(edit);
    std::filesystem::create_directory(source.folder / "folder.safetensors");
    for (const char* message : messages) {
      CAPTURE(message);
      CHECK_THROWS_WITH(load_pretrained(source.folder.path()),
                        Contains(message) && Contains("load_pretrained: ") && Contains("HINT"));
    }
    CHECK_THROWS_AS(load_pretrained(source.folder.path()), lightning::CheckpointError);
  }
}

TEST_CASE("Sizes that the weights don't confirm take no memory", "[bert]") {
  const ModelFolder source;
  BertConfig config = small_config();
  config.vocab_size = int64_t{1} << 28;
  config.hidden_size = int64_t{1} << 20;  // 2^50 bytes
  std::ofstream(source.folder / "config.json") << to_json(config);
  CHECK_THROWS_AS(load_pretrained(source.folder.path()), lightning::CheckpointError);
  CHECK_THROWS_WITH(load_pretrained(source.folder.path()),
                    Contains("[20, 8] in the file") && Contains("[268435456, 1048576]"));
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
      {[](NamedTensors& t) { remove_named(t, "qa_outputs.bias"); },
       {"lacks qa_outputs.bias but has the other part of the head"}},
      {[](NamedTensors& t) { t.emplace_back("embeddings.LayerNorm.gamma", torch::zeros({8})); },
       {"\"embeddings.LayerNorm.gamma\"",
        "are both the parameter bert.embeddings.LayerNorm.weight"}},
      {[](NamedTensors& t) { t.emplace_back("model.qa_outputs.bias", torch::zeros({2})); },
       {"\"model.qa_outputs.bias\"", "are both the parameter qa_outputs.bias"}},
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
  for (const char* name :
       {"flax_model.msgpack", "tf_model.h5", "pytorch_model.bin.index.json", "pytorch_model.bin"}) {
    std::ofstream(folder / name) << "x";
    // The line of Python keeps the head.
    CHECK_THROWS_WITH(load_pretrained(folder.path()),
                      Contains(name) &&
                          Contains("AutoModelForQuestionAnswering.from_pretrained(\"" +
                                   folder.path().string() + "\"") &&
                          Contains("save_pretrained(\"" + folder.path().string() +
                                   "\", safe_serialization=True)"));
  }
  std::ofstream(folder / "model.safetensors") << "truncated";
  std::ofstream(folder / "config.json") << to_json(small_config());
  CHECK_THROWS_AS(load_pretrained(folder.path()), lightning::CheckpointError);
}

TEST_CASE("An adapter beside the weights is refused", "[bert]") {
  const ModelFolder source;
  std::ofstream(source.folder / "adapter_config.json") << "{}";
  CHECK_THROWS_WITH(load_pretrained(source.folder.path()),
                    Contains("adapter_config.json") && Contains("merge_and_unload"));
}
