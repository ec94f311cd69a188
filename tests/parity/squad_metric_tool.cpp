// The SQuAD metric for squad_metric_parity.py.
// Standard input: {"texts": [text], "cases": [{"questions": [{"id", "answers": [text]}],
// "predictions": {id: [text, no_answer_score]}, "threshold": number or null (infinity)}]}
// Standard output: {"normalized": [text], "scores": [{name: number}]}
#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>

#include <nlohmann/json.hpp>

#include <lightning/metrics/python_text.h>

#include "examples/bert_squad/squad_metric.h"

namespace {

using nlohmann::json;

json score_case(const json& input) {
  bert_squad::SquadData data;
  for (const json& question : input.at("questions")) {
    bert_squad::SquadQuestion read{question.at("id"), "", 0, {}};
    for (const json& answer : question.at("answers")) read.answers.push_back({answer, 0});
    data.questions.push_back(std::move(read));
  }
  bert_squad::Predictions predictions;
  for (const auto& [id, prediction] : input.at("predictions").items()) {
    predictions[id] = {prediction.at(0), prediction.at(1)};
  }
  const json& threshold = input.at("threshold");
  const bert_squad::SquadScores scores = bert_squad::evaluate_squad(
      data, predictions,
      threshold.is_null() ? std::numeric_limits<double>::infinity() : threshold.get<double>());
  return {{"exact", scores.exact},
          {"f1", scores.f1},
          {"total", scores.total},
          {"HasAns_exact", scores.has_ans_exact},
          {"HasAns_f1", scores.has_ans_f1},
          {"HasAns_total", scores.has_ans_total},
          {"NoAns_exact", scores.no_ans_exact},
          {"NoAns_f1", scores.no_ans_f1},
          {"NoAns_total", scores.no_ans_total},
          {"best_exact", scores.best_exact},
          {"best_exact_thresh", scores.best_exact_threshold},
          {"best_f1", scores.best_f1},
          {"best_f1_thresh", scores.best_f1_threshold}};
}

}  // namespace

int main() {
  try {
    const json input = json::parse(std::cin);
    json output = {{"normalized", json::array()}, {"scores", json::array()}};
    for (const json& text : input.at("texts")) {
      output["normalized"].push_back(lightning::metrics::normalize_answer(text.get<std::string>()));
    }
    for (const json& one : input.at("cases")) output["scores"].push_back(score_case(one));
    std::cout << output.dump() << std::endl;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "squad_metric_tool: %s\n", error.what());
    return 1;
  }
  return 0;
}
