// Equality with the official metric: tests/parity/squad_metric_parity.py.
#include <lightning/metrics/squad.h>

#include <ATen/Functions.h>
#include <catch2/catch.hpp>

#include <lightning/metrics/python_text.h>
#include <lightning/util/error.h>

namespace {

namespace lm = lightning::metrics;
using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("Answers are compared without case, punctuation and articles", "[metrics]") {
  CHECK(lm::normalize_answer("The  Quick, (brown) FOX!") == "quick brown fox");
  CHECK(lm::normalize_answer("an apple a day") == "apple day");
  CHECK(lm::normalize_answer("a-b") == "ab");
  CHECK(lm::normalize_answer("a–b") == "–b");
  CHECK(lm::normalize_answer("ÉCOLE\u00a0Été") == "école été");
  CHECK(lm::normalize_answer("ΣΑΣ") == "σας");
  CHECK(lm::normalize_answer("İ𐐀") == "i\u0307𐐨");
  CHECK(lm::normalize_answer("...").empty());
}

TEST_CASE("F1 counts shared words as often as both have them", "[metrics]") {
  CHECK(lm::word_f1_score("b c c", "b b c") == Approx(2.0 / 3));
  CHECK(lm::word_f1_score("nile", "blue nile") == Approx(2.0 / 3));
  CHECK(lm::word_f1_score("y", "x") == 0.0);
  CHECK(lm::word_f1_score("the", "") == 1.0);
  CHECK(lm::word_f1_score("y", "") == 0.0);
}

TEST_CASE("A question's score is that of the answer that suits best", "[metrics]") {
  lm::SQuADExactMatch exact;
  lm::SQuADF1 f1;
  const auto update = [&](std::string_view prediction, const std::vector<std::string>& answers) {
    exact.update(prediction, answers);
    f1.update(prediction, answers);
  };
  update("nile", {"The Amazon", "The Nile"});
  update("blue nile", {"Amazon", "Nile"});
  CHECK(exact.compute().item<double>() == 50.0);
  CHECK(f1.compute().item<double>() == Approx(100.0 * (1.0 + 2.0 / 3) / 2));
  // Without answers there is none to find.
  update("", {});
  update("nile", {});
  CHECK(exact.compute().item<double>() == 50.0);
}

TEST_CASE("Texts that aren't UTF-8 are refused with the byte", "[metrics]") {
  // A byte that begins nothing, one that continues nothing, cut off, overlong, a surrogate, too
  // large.
  for (const char* bad : {"ab\xFF", "ab\x80", "ab\xC3", "ab\xC0\xAF", "ab\xE0\x80\xAF",
                          "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80", "ab\xF8\x88\x80\x80\x80"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(lm::normalize_answer(bad), lightning::DataError);
    CHECK_THROWS_WITH(lm::python_split(bad), Contains("byte 2 of") && Contains("HINT"));
  }
  lm::SQuADF1 f1;
  CHECK_THROWS_AS(f1.update("\xFF", {"x"}), lightning::DataError);
  CHECK(f1.states()[1].value.item<int64_t>() == 0);
}
