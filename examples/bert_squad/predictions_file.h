#pragma once

#include <filesystem>

#include "squad_metric.h"
#include "squad_reader.h"

namespace bert_squad {

/// Writes {question id: answer text} as JSON, in the order of the questions: what the official
/// evaluation script reads. Throws lightning::CheckpointError when the file can't be written.
void write_predictions(const std::filesystem::path& path, const SquadData& data,
                       const Predictions& predictions);

}  // namespace bert_squad
