/// Hugging Face model folders (config.json and model.safetensors), in both directions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bert_model.h"

namespace bert_squad {

/// Names of parameters (loaded, initialised) and of the file's tensors (ignored).
struct LoadReport {
  std::vector<std::string> loaded;
  /// Tensors that the model has no use for: pooler, pre-training heads, position ids.
  std::vector<std::string> ignored;
  /// Parameters of the head that the file doesn't hold: drawn anew, as in Hugging Face.
  std::vector<std::string> initialised;
};

/// Copies the weights of `folder`/model.safetensors (F32, F16 or BF16) into the model. Names may
/// lack the prefix `bert.` and may be the old LayerNorm.gamma and LayerNorm.beta.
/// Throws lightning::CheckpointError for a folder without model.safetensors (with a HINT when
/// there is a pytorch_model.bin), for encoder tensors that are missing or that the model doesn't
/// have (all are listed), and for shapes that differ; the model is unchanged then.
LoadReport load_pretrained(BertForQuestionAnsweringImpl& model,
                           const std::filesystem::path& folder);

/// Reads config.json and builds the model with its weights.
BertForQuestionAnswering load_pretrained(const std::filesystem::path& folder,
                                         LoadReport* report = nullptr);

/// Writes config.json and model.safetensors (float32) for transformers'
/// BertForQuestionAnswering.from_pretrained(folder); makes the folder when needed.
void save_pretrained(const BertForQuestionAnsweringImpl& model,
                     const std::filesystem::path& folder);

}  // namespace bert_squad
