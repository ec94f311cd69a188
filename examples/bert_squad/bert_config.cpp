#include "bert_config.h"

#include <algorithm>
#include <initializer_list>

#include <lightning/util/error.h>

#include "json_settings.h"

namespace bert_squad {

using lightning::ConfigError;

namespace {

// Beyond any BERT, and small enough that no product of two sizes overflows.
constexpr int64_t kMaxSize = int64_t{1} << 28;
constexpr int64_t kMaxLayers = 1000;

constexpr const char* kHint = ". HINT: give config.json as it was saved with the model.";

void check_size(const char* key, int64_t value, int64_t largest = kMaxSize) {
  LIGHTNING_CHECK(value >= 1 && value <= largest, ConfigError, "BertConfig: ", key, " is ", value,
                  ", expected at least 1 and at most ", largest, kHint);
}

void check_probability(const char* key, double value) {
  LIGHTNING_CHECK(value >= 0.0 && value < 1.0, ConfigError, "BertConfig: ", key, " is ", value,
                  ", expected a probability in [0, 1)", kHint);
}

/// Settings that would make it another model than BertForQuestionAnswering is.
void check_kind(Settings& config) {
  constexpr const char* kUseBert = "use a BERT model such as bert-base-uncased or MiniLM.";
  const auto only = [&](const char* key, std::initializer_list<const char*> known) {
    const auto value = config.text(key);
    if (!value || std::find(known.begin(), known.end(), *value) != known.end()) return;
    config.fail(key, lightning::detail::concat("\"", *known.begin(), "\", the only supported one"),
                kUseBert);
  };
  only("model_type", {"bert"});
  only("position_embedding_type", {"absolute"});
  only("tokenizer_class", {"BertTokenizer", "BertTokenizerFast"});
  for (const char* key : {"is_decoder", "add_cross_attention", "is_encoder_decoder"}) {
    if (config.boolean(key).value_or(false)) {
      config.fail(key, "false, as only encoders are supported", kUseBert);
    }
  }
  config.refuse("auto_map", "a model of its own code isn't supported");
  config.refuse("quantization_config", "quantized weights aren't supported");
  config.refuse("pruned_heads", "models with pruned attention heads aren't supported");
  config.refuse("per_layer_config", "layers that differ aren't supported");
}

BertConfig read_settings(Settings& settings) {
  check_kind(settings);
  BertConfig config;
  const auto size = [&](const char* key, int64_t& value, bool required) {
    const auto given = settings.integer(key, INT64_MIN, INT64_MAX);
    // null is no size, and none at all is no BERT.
    if (!given && (required || settings.has(key))) {
      settings.fail(key, "an integer, which a BERT model config has",
                    "give a model folder as Hugging Face saves it.");
    }
    value = given.value_or(value);
  };
  const auto number = [&](const char* key, double& value) {
    const auto given = settings.number(key);
    if (!given && settings.has(key)) settings.fail(key, "a number");
    value = given.value_or(value);
  };
  size("vocab_size", config.vocab_size, true);
  size("hidden_size", config.hidden_size, true);
  size("num_hidden_layers", config.num_hidden_layers, true);
  size("num_attention_heads", config.num_attention_heads, true);
  size("intermediate_size", config.intermediate_size, true);
  size("max_position_embeddings", config.max_position_embeddings, true);
  size("type_vocab_size", config.type_vocab_size, false);
  size("pad_token_id", config.pad_token_id, false);
  number("hidden_dropout_prob", config.hidden_dropout_prob);
  number("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  number("initializer_range", config.initializer_range);
  number("layer_norm_eps", config.layer_norm_eps);
  config.hidden_act = settings.text("hidden_act").value_or(config.hidden_act);
  if (config.type_vocab_size < 2) {
    settings.fail("type_vocab_size",
                  "at least 2: question and passage have the token types 0 and 1",
                  "use a BERT model with two token types.");
  }
  settings.without_effect(harmless_config_settings());
  settings.refuse_rest();
  return config;
}

}  // namespace

void check_bert_config(const BertConfig& config) {
  check_size("vocab_size", config.vocab_size);
  check_size("hidden_size", config.hidden_size);
  check_size("num_hidden_layers", config.num_hidden_layers, kMaxLayers);
  check_size("num_attention_heads", config.num_attention_heads);
  check_size("intermediate_size", config.intermediate_size);
  check_size("max_position_embeddings", config.max_position_embeddings);
  check_size("type_vocab_size", config.type_vocab_size);
  LIGHTNING_CHECK(config.hidden_size % config.num_attention_heads == 0, ConfigError,
                  "BertConfig: hidden_size is ", config.hidden_size,
                  ", expected a multiple of num_attention_heads, which is ",
                  config.num_attention_heads, kHint);
  LIGHTNING_CHECK(config.pad_token_id >= 0 && config.pad_token_id < config.vocab_size, ConfigError,
                  "BertConfig: pad_token_id is ", config.pad_token_id,
                  ", expected a token id below vocab_size, which is ", config.vocab_size, kHint);
  check_probability("hidden_dropout_prob", config.hidden_dropout_prob);
  check_probability("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  LIGHTNING_CHECK(config.initializer_range >= 0.0, ConfigError, "BertConfig: initializer_range is ",
                  config.initializer_range, ", expected 0 or more", kHint);
  LIGHTNING_CHECK(config.layer_norm_eps > 0.0, ConfigError, "BertConfig: layer_norm_eps is ",
                  config.layer_norm_eps, ", expected more than 0", kHint);
  static constexpr const char* kActivations[] = {
      "gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "relu"};
  LIGHTNING_CHECK(std::find(std::begin(kActivations), std::end(kActivations), config.hidden_act) !=
                      std::end(kActivations),
                  ConfigError, "BertConfig: hidden_act is \"", config.hidden_act,
                  "\", expected gelu (gelu_python), gelu_new (gelu_pytorch_tanh, "
                  "gelu_python_tanh) or relu. HINT: use a BERT model with one of these.");
}

BertConfig parse_bert_config(const std::string& text, const std::string& name) {
  BertConfig config;
  try {
    const Json object = parse_settings(text, name);
    Settings settings(object, name);
    config = read_settings(settings);
    check_bert_config(config);
  } catch (const ConfigError& error) {
    throw ConfigError(name + ": " + error.what());
  } catch (const lightning::DataError& error) {
    throw ConfigError(error.what());
  }
  return config;
}

BertConfig read_bert_config(const std::filesystem::path& file) {
  std::string text;
  try {
    text = read_model_file(file,
                           "give a model folder that holds config.json, a tokenizer and "
                           "model.safetensors.");
  } catch (const lightning::DataError& error) {
    throw ConfigError(error.what());
  }
  return parse_bert_config(text, file.string());
}

std::string to_json(const BertConfig& config) {
  // Sorted by key, as transformers writes it.
  const nlohmann::json object = {
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
