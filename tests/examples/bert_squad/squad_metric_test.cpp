// Equality with the official metric: tests/parity/squad_metric_parity.py.
#include "examples/bert_squad/squad_metric.h"

#include <limits>

#include <catch2/catch.hpp>

using bert_squad::evaluate_squad;
using bert_squad::SquadData;
using bert_squad::SquadScores;

namespace {

constexpr double kAlwaysAnswer = std::numeric_limits<double>::infinity();

SquadData two_and_one() {
  SquadData data;
  data.questions = {{"has0", "", 0, {{"the Nile", 0}, {"Nile river", 0}}},
                    {"has1", "", 0, {{"1950", 0}}},
                    {"none", "", 0, {}}};
  return data;
}

}  // namespace

TEST_CASE("Scores tell answerable and unanswerable questions apart", "[squad_metric]") {
  const bert_squad::Predictions predictions = {
      {"has0", {"Nile", -3.0}}, {"has1", {"1951", -1.0}}, {"none", {"something", 2.0}}};
  const SquadScores scores = evaluate_squad(two_and_one(), predictions, kAlwaysAnswer);
  CHECK(scores.total == 3);
  CHECK(scores.has_ans_total == 2);
  CHECK(scores.no_ans_total == 1);
  CHECK(scores.exact == Approx(100.0 / 3));
  CHECK(scores.has_ans_exact == Approx(50.0));
  CHECK(scores.has_ans_f1 == Approx(50.0));
  CHECK(scores.no_ans_exact == 0.0);
  // Without the answers above -3, the first question and the unanswerable one are right.
  CHECK(scores.best_exact == Approx(200.0 / 3));
  CHECK(scores.best_exact_threshold == -3.0);
}

TEST_CASE("Answers above the threshold count as none", "[squad_metric]") {
  const bert_squad::Predictions predictions = {
      {"has0", {"Nile", -3.0}}, {"has1", {"1950", 0.5}}, {"none", {"something", 2.0}}};
  const SquadScores scores = evaluate_squad(two_and_one(), predictions, 0.0);
  CHECK(scores.has_ans_exact == Approx(50.0));
  CHECK(scores.no_ans_exact == Approx(100.0));
  CHECK(evaluate_squad(two_and_one(), predictions, 0.5).has_ans_exact == Approx(100.0));
}

TEST_CASE("Questions without a prediction are left out", "[squad_metric]") {
  const SquadScores scores = evaluate_squad(two_and_one(), {{"has1", {"1950", 0.0}}}, 0.0);
  CHECK(scores.total == 1);
  CHECK(scores.exact == 100.0);
  CHECK(evaluate_squad(two_and_one(), {}, 0.0).total == 0);
}
