#include "predictions_file.h"

#include <lightning/util/file_system.h>
#include <nlohmann/json.hpp>

namespace bert_squad {

void write_predictions(const std::filesystem::path& path, const SquadData& data,
                       const Predictions& predictions) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const SquadQuestion& question : data.questions) {
    const auto found = predictions.find(question.id);
    if (found != predictions.end()) json[question.id] = found->second.text;
  }
  lightning::write_file_atomically(path, json.dump(1) + "\n");
}

}  // namespace bert_squad
