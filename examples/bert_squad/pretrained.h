/// Hugging Face model folders (config.json and model.safetensors), in both directions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bert_model.h"

namespace bert_squad {

class WordPieceTokenizer;

/// Names of parameters (loaded, initialised) and of the files' tensors (ignored, unexpected).
struct LoadReport {
  std::vector<std::string> loaded;
  /// Tensors that question answering has no use for: pooler, pre-training heads, position ids.
  std::vector<std::string> ignored;
  /// Other tensors that the model doesn't have, such as another task's head; a warning names them.
  std::vector<std::string> unexpected;
  /// Parameters of the head that the files don't hold: drawn anew, as in Hugging Face.
  std::vector<std::string> initialised;

  /// Whether the folder has a question-answering head.
  bool has_head() const { return initialised.empty(); }
};

/// Copies the weights of `folder` (F32, F16 or BF16) into the model: those of model.safetensors or,
/// without it, of the files that model.safetensors.index.json names. Names may lack the prefix
/// `bert.`, have `model.` or `module.` before it, and be the old LayerNorm.gamma and
/// LayerNorm.beta. Throws lightning::CheckpointError for a folder without such files (with a HINT
/// when there is a pytorch_model.bin), for an index that doesn't fit its files, for encoder tensors
/// that are missing or that the model doesn't have (all are listed), for two tensors of one
/// parameter, half a head, and shapes that differ; the model is unchanged then.
LoadReport load_pretrained(BertForQuestionAnsweringImpl& model,
                           const std::filesystem::path& folder);

/// Builds the model of `config` with the weights of `folder`. The files are checked against
/// `config` before memory is taken for the model.
BertForQuestionAnswering load_pretrained(const std::filesystem::path& folder,
                                         const BertConfig& config, LoadReport* report = nullptr);
/// The same with the folder's config.json.
BertForQuestionAnswering load_pretrained(const std::filesystem::path& folder,
                                         LoadReport* report = nullptr);

/// Throws lightning::ConfigError when the tokenizer has ids that the model has no embedding for.
void check_same_model(const BertConfig& config, const WordPieceTokenizer& tokenizer,
                      const std::filesystem::path& folder);

/// Writes config.json and model.safetensors (float32) for transformers'
/// BertForQuestionAnswering.from_pretrained(folder); makes the folder when needed.
void save_pretrained(const BertForQuestionAnsweringImpl& model,
                     const std::filesystem::path& folder);

}  // namespace bert_squad
