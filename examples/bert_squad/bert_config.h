/// BertConfig: the sizes and settings of a BERT encoder, as in Hugging Face's config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace bert_squad {

/// The defaults are those of bert-base-uncased.
struct BertConfig {
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
  int64_t pad_token_id = 0;
  /// gelu (or gelu_python), its tanh approximation gelu_new (or gelu_pytorch_tanh,
  /// gelu_python_tanh), or relu.
  std::string hidden_act = "gelu";
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  /// Standard deviation of newly made weights.
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-12;
};

/// Throws lightning::ConfigError for sizes that don't make a model (zero or negative, beyond any
/// BERT, a hidden size that the heads don't divide, probabilities outside [0, 1)) and for unknown
/// activations.
void check_bert_config(const BertConfig& config);

/// Reads a config.json. Keys that decide the shape of the model are required; the others have
/// BertConfig's defaults. Throws lightning::ConfigError for JSON errors, missing keys, values of
/// the wrong kind, models that aren't a plain absolute-position BERT encoder with two token types,
/// and keys that are neither used nor known to be without effect (harmless_config_settings()).
BertConfig read_bert_config(const std::filesystem::path& file);
/// The same from the text of a config.json; `name` is used in errors.
BertConfig parse_bert_config(const std::string& json, const std::string& name);

/// A config.json that read_bert_config() and transformers read.
std::string to_json(const BertConfig& config);

}  // namespace bert_squad
