#include "bert_config.h"

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <nlohmann/json.hpp>

namespace bert_squad {

using lightning::ConfigError;
using nlohmann::json;

namespace {

/// Reads typed members of one JSON object; errors name the file and the key.
class ConfigReader {
 public:
  ConfigReader(const json& object, const std::string& name) : object_(object), name_(name) {}

  void require(const char* key, int64_t& value) const {
    LIGHTNING_CHECK(object_.contains(key), ConfigError, name_, ": no key \"", key,
                    "\", which a BERT model config has. HINT: give a model folder as Hugging Face "
                    "saves it.");
    read(key, value);
  }
  void read(const char* key, int64_t& value) const {
    if (const json* found = find(key)) {
      if (!found->is_number_integer()) fail(key, *found, "an integer");
      value = found->get<int64_t>();
    }
  }
  void read(const char* key, double& value) const {
    if (const json* found = find(key)) {
      if (!found->is_number()) fail(key, *found, "a number");
      value = found->get<double>();
    }
  }
  void read(const char* key, std::string& value) const {
    if (const json* found = find(key)) {
      if (!found->is_string()) fail(key, *found, "a string");
      value = found->get<std::string>();
    }
  }
  void read(const char* key, bool& value) const {
    if (const json* found = find(key)) {
      if (!found->is_boolean()) fail(key, *found, "true or false");
      value = found->get<bool>();
    }
  }

 private:
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void fail(const char* key, const json& value, const char* expected) const {
    throw ConfigError(lightning::detail::concat(name_, ": \"", key, "\" is ", value.dump(),
                                                ", expected ", expected, "."));
  }

  const json& object_;
  const std::string& name_;
};

void check_kind(const ConfigReader& reader, const std::string& name) {
  std::string model_type = "bert";
  reader.read("model_type", model_type);
  LIGHTNING_CHECK(model_type == "bert", ConfigError, name, ": model_type is \"", model_type,
                  "\", only \"bert\" is supported. HINT: use a BERT model such as "
                  "bert-base-uncased or MiniLM.");
  std::string position_type = "absolute";
  reader.read("position_embedding_type", position_type);
  LIGHTNING_CHECK(position_type == "absolute", ConfigError, name, ": position_embedding_type is \"",
                  position_type, "\", only \"absolute\" is supported.");
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    bool value = false;
    reader.read(key, value);
    LIGHTNING_CHECK(!value, ConfigError, name, ": ", key,
                    " is true, only encoders (false) are supported.");
  }
}

void check_positive(const char* key, int64_t value) {
  LIGHTNING_CHECK(value >= 1, ConfigError, "BertConfig: ", key, " is ", value,
                  ", expected at least 1.");
}

void check_probability(const char* key, double value) {
  LIGHTNING_CHECK(value >= 0.0 && value < 1.0, ConfigError, "BertConfig: ", key, " is ", value,
                  ", expected a probability in [0, 1).");
}

}  // namespace

void check_bert_config(const BertConfig& config) {
  check_positive("vocab_size", config.vocab_size);
  check_positive("hidden_size", config.hidden_size);
  check_positive("num_hidden_layers", config.num_hidden_layers);
  check_positive("num_attention_heads", config.num_attention_heads);
  check_positive("intermediate_size", config.intermediate_size);
  check_positive("max_position_embeddings", config.max_position_embeddings);
  check_positive("type_vocab_size", config.type_vocab_size);
  LIGHTNING_CHECK(config.hidden_size % config.num_attention_heads == 0, ConfigError,
                  "BertConfig: hidden_size is ", config.hidden_size,
                  ", expected a multiple of num_attention_heads, which is ",
                  config.num_attention_heads, ".");
  LIGHTNING_CHECK(config.pad_token_id >= 0 && config.pad_token_id < config.vocab_size, ConfigError,
                  "BertConfig: pad_token_id is ", config.pad_token_id,
                  ", expected a token id below vocab_size, which is ", config.vocab_size, ".");
  check_probability("hidden_dropout_prob", config.hidden_dropout_prob);
  check_probability("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  LIGHTNING_CHECK(config.initializer_range >= 0.0, ConfigError, "BertConfig: initializer_range is ",
                  config.initializer_range, ", expected 0 or more.");
  LIGHTNING_CHECK(config.layer_norm_eps > 0.0, ConfigError, "BertConfig: layer_norm_eps is ",
                  config.layer_norm_eps, ", expected more than 0.");
  const std::string& activation = config.hidden_act;
  LIGHTNING_CHECK(activation == "gelu" || activation == "gelu_new" || activation == "relu",
                  ConfigError, "BertConfig: hidden_act is \"", activation,
                  "\", supported are gelu, gelu_new and relu.");
}

BertConfig parse_bert_config(const std::string& text, const std::string& name) {
  json object;
  try {
    object = json::parse(text);
  } catch (const json::exception& error) {
    throw ConfigError(lightning::detail::concat(name, ": not valid JSON: ", error.what(), "."));
  }
  LIGHTNING_CHECK(object.is_object(), ConfigError, name,
                  ": the top level is not an object, expected {\"hidden_size\": ...}.");
  const ConfigReader reader(object, name);
  check_kind(reader, name);
  BertConfig config;
  reader.require("vocab_size", config.vocab_size);
  reader.require("hidden_size", config.hidden_size);
  reader.require("num_hidden_layers", config.num_hidden_layers);
  reader.require("num_attention_heads", config.num_attention_heads);
  reader.require("intermediate_size", config.intermediate_size);
  reader.require("max_position_embeddings", config.max_position_embeddings);
  reader.read("type_vocab_size", config.type_vocab_size);
  reader.read("pad_token_id", config.pad_token_id);
  reader.read("hidden_act", config.hidden_act);
  reader.read("hidden_dropout_prob", config.hidden_dropout_prob);
  reader.read("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  reader.read("initializer_range", config.initializer_range);
  reader.read("layer_norm_eps", config.layer_norm_eps);
  try {
    check_bert_config(config);
  } catch (const ConfigError& error) {
    throw ConfigError(name + ": " + error.what());
  }
  return config;
}

BertConfig read_bert_config(const std::filesystem::path& file) {
  std::string text;
  try {
    text = lightning::read_file(file);
  } catch (const lightning::DataError& error) {
    throw ConfigError(lightning::detail::concat(
        error.what(), " HINT: give a model folder that holds config.json and model.safetensors."));
  }
  return parse_bert_config(text, file.string());
}

std::string to_json(const BertConfig& config) {
  // Sorted by key, as transformers writes it.
  const json object = {
      {"architectures", {"BertForQuestionAnswering"}},
      {"attention_probs_dropout_prob", config.attention_probs_dropout_prob},
      {"dtype", "float32"},
      {"hidden_act", config.hidden_act},
      {"hidden_dropout_prob", config.hidden_dropout_prob},
      {"hidden_size", config.hidden_size},
      {"initializer_range", config.initializer_range},
      {"intermediate_size", config.intermediate_size},
      {"layer_norm_eps", config.layer_norm_eps},
      {"max_position_embeddings", config.max_position_embeddings},
      {"model_type", "bert"},
      {"num_attention_heads", config.num_attention_heads},
      {"num_hidden_layers", config.num_hidden_layers},
      {"pad_token_id", config.pad_token_id},
      {"position_embedding_type", "absolute"},
      {"type_vocab_size", config.type_vocab_size},
      {"vocab_size", config.vocab_size},
  };
  return object.dump(2) + "\n";
}

}  // namespace bert_squad
