/// The command `export`: a Hugging Face model folder from a SquadModule.
#pragma once

#include <filesystem>

#include "squad_module.h"

namespace bert_squad {

/// Throws lightning::ConfigError unless `output` is a new or an empty folder.
void check_export_folder(const std::filesystem::path& output);

/// Makes `output` a folder that transformers' AutoModelForQuestionAnswering and AutoTokenizer open
/// and that model.pretrained takes: model.safetensors (float32), config.json and the tokenizer's
/// files, those that the module was made from as they are, and what is missing of vocab.txt (or
/// tokenizer.json), tokenizer_config.json and special_tokens_map.json.
/// The folder is complete or not there. Throws lightning::ConfigError (check_export_folder(),
/// SquadModule::require_head()) and CheckpointError when it can't be written.
void export_folder(const SquadModule& module, const std::filesystem::path& output);

}  // namespace bert_squad
