// SquadModule and SquadDataModule under a Trainer, with a tiny BERT of random weights.
#include "examples/bert_squad/squad_module.h"

#include <fstream>
#include <functional>

#include <catch2/catch.hpp>

#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>

#include "examples/bert_squad/export_folder.h"
#include "examples/bert_squad/squad_data_module.h"
#include "examples/bert_squad/tiny_run.h"
#include "support/captured_stderr.h"

using bert_squad::SquadDataModule;
using bert_squad::SquadDataModuleOptions;
using bert_squad::SquadModule;
using bert_squad::SquadModuleOptions;
using bert_squad::Unanswerable;
using Catch::Matchers::Contains;
using lightning::ConfigError;
using lightning_tests::TinyRun;

namespace {

lightning::MetricMap validate(const TinyRun& run, const SquadModuleOptions& module_options,
                              const SquadDataModuleOptions& data_options) {
  lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
  return trainer
      .validate(std::make_shared<SquadModule>(module_options),
                std::make_shared<SquadDataModule>(data_options))
      .at(0);
}

}  // namespace

TEST_CASE("Unanswerable questions are kept or dropped", "[squad_data_module]") {
  const TinyRun run;
  SquadDataModuleOptions options = run.data_options();
  const auto kept = validate(run, run.module_options(), options);
  CHECK(kept.contains("NoAns_f1"));
  CHECK(kept.contains("HasAns_f1"));
  options.unanswerable = Unanswerable::kDrop;
  const auto dropped = validate(run, run.module_options(), options);
  CHECK_FALSE(dropped.contains("NoAns_f1"));
  CHECK(dropped.at("f1") == dropped.at("HasAns_f1"));
  CHECK(dropped.contains("val_loss"));
}

TEST_CASE("Without a null threshold there is always an answer", "[squad_module]") {
  const TinyRun run;
  SquadModuleOptions options = run.module_options();
  options.null_threshold = std::nullopt;
  const auto always = validate(run, options, run.data_options());
  CHECK(always.at("NoAns_exact") == 0.0);
  CHECK(always.at("HasAns_f1") == always.at("HasAns_best_span_f1"));
  options.null_threshold = -1e9;
  const auto never = validate(run, options, run.data_options());
  CHECK(never.at("NoAns_exact") == 100.0);
  CHECK(never.at("HasAns_f1") == 0.0);
  CHECK(never.at("HasAns_best_span_f1") == always.at("HasAns_best_span_f1"));
}

TEST_CASE("Padding to the longest of the set changes no score", "[squad_data_module]") {
  const TinyRun run;
  SquadDataModuleOptions options = run.data_options();
  const auto each = validate(run, run.module_options(), options);
  options.padding = bert_squad::Padding::kLongest;
  const auto longest = validate(run, run.module_options(), options);
  CHECK(longest.at("f1") == each.at("f1"));
  CHECK(longest.at("exact") == each.at("exact"));
}

TEST_CASE("The data module names what is wrong with its options", "[squad_data_module]") {
  const TinyRun run;
  const auto error_of = [&](const SquadDataModuleOptions& options) -> std::string {
    try {
      validate(run, run.module_options(), options);
    } catch (const lightning::Error& error) {
      return error.what();
    }
    return "no error";
  };
  SquadDataModuleOptions options = run.data_options();
  options.val_file = "";
  CHECK_THAT(error_of(options), Contains("data.val_file is empty") && Contains("HINT"));
  options.val_file = "/nonexistent.json";
  CHECK_THAT(error_of(options), Contains("/nonexistent.json"));
  options = run.data_options();
  options.max_seq_length = 65;
  CHECK_THAT(error_of(options), Contains("max_seq_length is 65") && Contains("64"));
  options = run.data_options();
  options.batch_size = 0;
  CHECK_THAT(error_of(options), Contains("batch_size"));
  options = run.data_options();
  std::ofstream(run.file()) << R"({"data": [{"title": "A", "paragraphs": [{"context": "a b",
      "qas": [{"id": "1", "question": "b", "is_impossible": true, "answers": []}]}]}]})";
  options.unanswerable = Unanswerable::kDrop;
  CHECK_THAT(error_of(options), Contains("no question is left") && Contains("HINT"));
}

TEST_CASE("SquadModule refuses options that can't be meant", "[squad_module]") {
  const TinyRun run;
  const auto error_of = [](const SquadModuleOptions& options) -> std::string {
    try {
      SquadModule module(options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  SquadModuleOptions options = run.module_options();
  options.learning_rate = 0.0;
  CHECK_THAT(error_of(options), Contains("model.learning_rate is 0"));
  options = run.module_options();
  options.warmup_fraction = 1.5;
  CHECK_THAT(error_of(options), Contains("model.warmup_fraction is 1.5"));
  options = run.module_options();
  options.weight_decay = -1.0;
  CHECK_THAT(error_of(options), Contains("model.weight_decay is -1"));
  options = run.module_options();
  options.n_best = 0;
  CHECK_THAT(error_of(options), Contains("model.n_best is 0"));
  options = run.module_options();
  options.dropout = 1.0;
  CHECK_THAT(error_of(options), Contains("dropout"));
  CHECK_THAT(error_of({}), Contains("model.pretrained is empty") && Contains("HINT"));
}

TEST_CASE("A vocabulary larger than the model is refused", "[squad_module]") {
  const TinyRun run;
  std::ofstream(run.model() / "vocab.txt", std::ios::app) << "more\nwords\n";
  CHECK_THROWS_WITH(SquadModule(run.module_options()),
                    Contains("has 32 tokens") && Contains("vocab_size is 30"));
  const TinyRun blank;
  std::ofstream(blank.model() / "vocab.txt", std::ios::app) << "\n";
  CHECK_THROWS_WITH(SquadModule(blank.module_options()),
                    Contains("has 31 tokens") && Contains("blank line") && Contains("HINT"));
  const auto file = blank.model() / "model.safetensors";
  CHECK_THROWS_WITH(SquadModule({.pretrained = file}), Contains("is a file") && Contains("HINT") &&
                                                           Contains(blank.model().string() + "."));
}

TEST_CASE("A pointer of Git LFS or another encoding is named", "[squad_module]") {
  for (const char* name : {"model.safetensors", "vocab.txt", "tokenizer.json", "config.json"}) {
    const TinyRun run;
    std::ofstream(run.model() / name, std::ios::trunc)
        << "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    CHECK_THROWS_WITH(SquadModule(run.module_options()),
                      Contains(name) && Contains("Git LFS") && Contains("HINT: git lfs pull"));
  }
  const TinyRun run;
  std::ofstream(run.model() / "tokenizer.json") << std::string("\xFF\xFE{\0}\0", 6);
  CHECK_THROWS_WITH(SquadModule(run.module_options()),
                    Contains("tokenizer.json") && Contains("UTF-16") && Contains("HINT"));
}

TEST_CASE("A checkpoint's assets are all that the tokenizer needs", "[squad_module]") {
  const TinyRun run;
  std::ofstream(run.model() / "added_tokens.json") << R"({"b c": 29})";
  // The vocabulary has room for one that is added.
  std::string vocab = lightning::read_file(run.model() / "vocab.txt");
  vocab.resize(vocab.size() - 2);
  std::ofstream(run.model() / "vocab.txt", std::ios::trunc) << vocab;
  const SquadModule module(run.module_options());
  const lightning_tests::TemporaryFolder assets;
  for (const auto& [name, text] : SquadModule(run.module_options()).checkpoint_assets()) {
    std::ofstream(assets / name, std::ios::binary) << text;
  }
  const auto copy = SquadModule::from_checkpoint(run.module_options(), assets.path());
  CHECK(copy->tokenizer().encode("a b c d").ids == std::vector<int32_t>{4, 29, 7});
  CHECK((copy->tokenizer().options() == module.tokenizer().options()));
  CHECK((copy->tokenizer().files() == module.tokenizer().files()));
  CHECK_FALSE(copy->head_is_new());
}

TEST_CASE("A folder without a head answers only when told to, and training gives it one",
          "[squad_module]") {
  const TinyRun run;
  run.remove_head();
  const std::string folder = run.model().string();
  const auto check_refused = [&](const std::function<void()>& call) {
    CHECK_THROWS_AS(call(), ConfigError);
    CHECK_THROWS_WITH(call(), Contains("the model folder " + folder) && Contains("qa_outputs") &&
                                  Contains("model.allow_new_head"));
  };
  const auto trainer = [&] {
    return std::make_unique<lightning::Trainer>(run.trainer_options(), lightning::Callbacks{},
                                                lightning::Loggers{});
  };
  const auto data = std::make_shared<SquadDataModule>(run.data_options());
  const auto module = std::make_shared<SquadModule>(run.module_options());
  CHECK(module->head_is_new());
  check_refused([&] { trainer()->validate(module, data); });
  check_refused([&] { trainer()->test(module, data); });
  check_refused([&] { trainer()->predict(module, data, {}); });
  check_refused([&] { module->answer("a", "b c", {.max_seq_length = 32, .doc_stride = 8}); });
  check_refused([&] { export_folder(*module, run.model().parent_path() / "exported"); });

  SquadModuleOptions allowed = run.module_options();
  allowed.allow_new_head = true;
  CHECK_NOTHROW(trainer()->validate(std::make_shared<SquadModule>(allowed), data));

  std::string warnings;
  {
    const lightning_tests::CapturedStderr captured;
    trainer()->fit(module, data);  // with its validation
    warnings = captured.text();
  }
  CHECK_THAT(warnings, Contains(folder + " has no question-answering head") &&
                           Contains("qa_outputs.weight and qa_outputs.bias"));
  CHECK_FALSE(module->head_is_new());
  CHECK_NOTHROW(trainer()->validate(module, data));
}

TEST_CASE("SquadModule's parameters have Hugging Face's names", "[squad_module]") {
  const TinyRun run;
  const auto module = std::make_shared<SquadModule>(run.module_options());
  const auto names = module->named_parameters().keys();
  CHECK(names == module->model()->named_parameters().keys());
  CHECK(names.front().starts_with("bert.embeddings."));
  CHECK(names.back() == "qa_outputs.bias");
}

TEST_CASE("Prediction writes the answers of all questions, also of those without labels",
          "[squad_module]") {
  const TinyRun run;
  for (const auto layout :
       {bert_squad::FeatureLayout::kWindows, bert_squad::FeatureLayout::kContextFirst}) {
    SquadModuleOptions module_options = run.module_options();
    module_options.null_threshold = std::nullopt;
    SquadDataModuleOptions data_options = run.data_options();
    data_options.layout = layout;
    lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
    int64_t rows = 0;
    trainer.predict(std::make_shared<SquadModule>(module_options),
                    std::make_shared<SquadDataModule>(data_options),
                    [&](const lightning::Batch& output, const lightning::Batch&, int64_t) {
                      rows += output["start_logits"].size(0);
                    });
    CHECK(rows == 3);
    const std::string text = lightning::read_file(trainer.run_dir() / "predictions.json");
    for (const char* id : {"\"has0\": \"", "\"none\": \"", "\"has1\": \""}) {
      CHECK_THAT(text, Contains(id));
    }
    CHECK(text.find("has0") < text.find("none"));
    CHECK(text.find("none") < text.find("has1"));
  }
}

namespace {

/// A file of questions about "a b c d e f": question number i has the id "i" and these answers.
std::string with_answers(const std::vector<std::string>& answers) {
  std::string qas;
  for (size_t i = 0; i < answers.size(); ++i) {
    qas += lightning::format(R"({}{{"id": {}, "question": "{}", "answers": [{}]}})",
                             i == 0 ? "" : ",\n", i, static_cast<char>('a' + i), answers[i]);
  }
  return R"({"data": [{"paragraphs": [{"context": "a b c d e f", "qas": [)" + qas + "]}]}]}";
}

}  // namespace

TEST_CASE("A question without a place for its answer counts for the scores, not for the loss",
          "[squad_data_module]") {
  const TinyRun run;
  const std::string good0 = R"({"text": "c d", "answer_start": 4})";
  const std::string good1 = R"({"text": "e", "answer_start": 8})";
  const std::string bad = R"({"text": "y z", "answer_start": 4})";
  // Rows alone, so that no padding changes a loss; then batches in which all, some and none count.
  for (const int64_t batch_size : {1, 2, 4}) {
    SquadDataModuleOptions options = run.data_options();
    options.batch_size = batch_size;
    options.padding = bert_squad::Padding::kLongest;
    std::ofstream(run.file()) << with_answers({good0, good1});
    const auto all_good = validate(run, run.module_options(), options);
    std::ofstream(run.file()) << with_answers({good0, good1, bad, bad});
    const auto some_bad = validate(run, run.module_options(), options);
    INFO("batches of " << batch_size);
    CHECK(some_bad.at("val_loss") == Approx(all_good.at("val_loss")).epsilon(1e-5));
    CHECK(some_bad.at("HasAns_best_span_exact") ==
          Approx(all_good.at("HasAns_best_span_exact") / 2));
  }
}

TEST_CASE("data.on_bad_example leaves out what can't be trained on", "[squad_data_module]") {
  const TinyRun run;
  std::ofstream(run.file()) << with_answers(
      {R"({"text": "c d", "answer_start": 4})", R"({"text": "y", "answer_start": 4})"});
  SquadDataModuleOptions options = run.data_options();
  options.val_file = "";
  const auto fit = [&] {
    lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
    trainer.fit(std::make_shared<SquadModule>(run.module_options()),
                std::make_shared<SquadDataModule>(options));
    return trainer.global_step();
  };
  CHECK_THROWS_WITH(fit(), Contains("1 bad question among 2 questions") &&
                               Contains("--data.on_bad_example skip"));
  options.on_bad_example = bert_squad::OnBadExample::kSkip;
  CHECK(fit() == 1);
}
