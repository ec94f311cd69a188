#include <examples/bert_squad/bert_config.h>
#include <examples/bert_squad/harmless_settings.h>

#include <lightning/util/error.h>
#include <catch2/catch.hpp>

using bert_squad::BertConfig;
using bert_squad::parse_bert_config;
using Catch::Contains;

namespace {

/// A sound config.json, with one text replaced by another.
std::string config_json(const std::string& from = "", const std::string& to = "") {
  std::string text = R"({"model_type": "bert", "hidden_act": "gelu", "vocab_size": 100,
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64, "type_vocab_size": 2, "layer_norm_eps": 1e-6,
    "hidden_dropout_prob": 0.2, "position_embedding_type": "absolute", "use_cache": true})";
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("parse_bert_config reads sizes and keeps defaults for the rest", "[bert]") {
  const BertConfig config = parse_bert_config(config_json(), "config.json");
  CHECK(config.vocab_size == 100);
  CHECK(config.hidden_size == 24);
  CHECK(config.num_attention_heads == 4);
  CHECK(config.layer_norm_eps == 1e-6);
  CHECK(config.hidden_dropout_prob == 0.2);
  CHECK(config.attention_probs_dropout_prob == 0.1);
  CHECK(config.initializer_range == 0.02);
}

TEST_CASE("to_json is read back as the same config", "[bert]") {
  const BertConfig config = parse_bert_config(config_json("gelu", "gelu_new"), "config.json");
  CHECK(to_json(parse_bert_config(to_json(config), "copy")) == to_json(config));
  CHECK(parse_bert_config(to_json(config), "copy").hidden_act == "gelu_new");
}

TEST_CASE("parse_bert_config names what it can't use", "[bert]") {
  struct Row {
    std::string from;
    std::string to;
    std::string message;
  };
  const std::vector<Row> rows = {
      {R"("model_type": "bert")", R"("model_type": "roberta")",
       R"("model_type" is "roberta", expected "bert")"},
      {R"("gelu")", R"("silu")", "hidden_act is \"silu\""},
      {R"("absolute")", R"("relative_key")", R"("position_embedding_type" is "relative_key")"},
      {R"("use_cache": true)", R"("is_decoder": true)", R"("is_decoder" is true)"},
      {R"("hidden_size": 24,)", "", R"("hidden_size" is missing)"},
      {R"("num_hidden_layers": 2,)", "", R"("num_hidden_layers" is missing)"},
      {R"("hidden_size": 24)", R"("hidden_size": 26)", "multiple of num_attention_heads"},
      {R"("hidden_size": 24)", R"("hidden_size": "24")", "expected an integer"},
      {R"("hidden_size": 24)", R"("hidden_size": 24.5)", "expected an integer"},
      {R"("hidden_act": "gelu")", R"("hidden_act": 3)", "expected a string"},
      {R"("hidden_dropout_prob": 0.2)", R"("hidden_dropout_prob": "no")", "expected a number"},
      {R"("hidden_dropout_prob": 0.2)", R"("hidden_dropout_prob": 1.0)", "probability in [0, 1)"},
      {R"("vocab_size": 100)", R"("vocab_size": 0)", "vocab_size is 0"},
      {R"("vocab_size": 100)", R"("vocab_size": 100, "pad_token_id": 100)", "pad_token_id is 100"},
      {R"("vocab_size": 100)", R"("vocab_size": 1000000000000)", "vocab_size is 1000000000000"},
      {R"("vocab_size": 100)", R"("vocab_size": 18446744073709551615)", "expected an integer"},
      {R"("hidden_size": 24)", R"("hidden_size": null)", R"("hidden_size" is null)"},
      {R"("num_hidden_layers": 2)", R"("num_hidden_layers": 1001)", "num_hidden_layers is 1001"},
      {R"("type_vocab_size": 2)", R"("type_vocab_size": 1)",
       R"("type_vocab_size" is 1, expected at least 2)"},
      {R"("type_vocab_size": 2)", R"("type_vocab_size": 0)",
       R"("type_vocab_size" is 0, expected at least 2)"},
      {R"("num_hidden_layers": 2)", R"("num_hidden_layers": 0)", "num_hidden_layers is 0"},
      {R"("use_cache": true)", R"("pad_token_id": -1)", "pad_token_id is -1"},
      {R"("use_cache": true)", R"("pad_token_id": null)", R"("pad_token_id" is null)"},
      {R"("use_cache": true)", R"("add_cross_attention": true)",
       R"("add_cross_attention" is true)"},
      {R"("use_cache": true)", R"("is_encoder_decoder": true)", R"("is_encoder_decoder" is true)"},
      {R"("use_cache": true)", R"("tokenizer_class": "BertJapaneseTokenizer")",
       R"("tokenizer_class" is "BertJapaneseTokenizer")"},
      {R"("use_cache": true)", R"("auto_map": {"AutoModel": "a--b.C"})", R"("auto_map" is )"},
      {R"("use_cache": true)", R"("quantization_config": {"bits": 8})",
       R"("quantization_config" is {"bits":8})"},
      {R"("use_cache": true)", R"("pruned_heads": {"0": [1]})", R"("pruned_heads" is {"0":[1]})"},
      {R"("use_cache": true)", R"("embedding_size": 12)", R"("embedding_size" is 12)"},
      {R"("use_cache": true)", R"("use_cache": true, "use_cache": false)",
       R"("use_cache" is there)"},
      {R"("use_cache": true)", R"("id2label": )" + std::string(99, '[') + std::string(99, ']'),
       "levels deep"},
      {R"("use_cache": true})", R"("use_cache": true)", "not valid JSON"},
      {"{", "[{", "not valid JSON"},
  };
  for (const auto& [from, to, message] : rows) {
    CAPTURE(from, to);
    const std::string text = config_json(from, to);
    CHECK_THROWS_AS(parse_bert_config(text, "model/config.json"), lightning::ConfigError);
    CHECK_THROWS_WITH(parse_bert_config(text, "model/config.json"),
                      Contains("model/config.json") && Contains(message) && Contains("HINT"));
  }
  CHECK_THROWS_WITH(parse_bert_config("[1]", "x"), Contains("not an object"));
}

TEST_CASE("Settings without effect and keys without value are taken", "[bert]") {
  for (const auto& setting : bert_squad::harmless_config_settings()) {
    const std::string name(setting.name);
    CAPTURE(name);
    const std::string replacement = lightning::detail::concat("\"", name, "\": [\"anything\"]");
    CHECK_NOTHROW(parse_bert_config(config_json(R"("use_cache": true)", replacement), "x"));
  }
  for (const char* key : {"quantization_config", "no_such_key", "hidden_act", "is_decoder"}) {
    const std::string replacement = lightning::detail::concat("\"", key, "\": null, \"x\": null, ");
    std::string text = config_json(R"("hidden_act": "gelu", )", "");
    text.insert(1, replacement);
    CHECK(parse_bert_config(text, "x").hidden_act == "gelu");
  }
}

TEST_CASE("read_bert_config says which file is missing", "[bert]") {
  CHECK_THROWS_AS(bert_squad::read_bert_config("/nowhere/config.json"), lightning::ConfigError);
  CHECK_THROWS_WITH(bert_squad::read_bert_config("/nowhere/config.json"),
                    Contains("/nowhere/config.json") && Contains("HINT"));
}
