// What the commands predict, ask and export do, with a tiny BERT of random weights.
#include <cmath>
#include <fstream>

#include <catch2/catch.hpp>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>

#include "examples/bert_squad/export_folder.h"
#include "examples/bert_squad/squad_data_module.h"
#include "examples/bert_squad/squad_module.h"
#include "examples/bert_squad/tiny_run.h"
#include "support/faulty_file_system.h"

using bert_squad::SquadDataModule;
using bert_squad::SquadModule;
using bert_squad::SquadModuleOptions;
using Catch::Matchers::Contains;
using lightning::detail::concat;
using lightning_tests::TinyRun;

TEST_CASE("Prediction writes the n best answers and the no-answer scores of all questions",
          "[squad_module]") {
  const TinyRun run;
  for (const auto threshold : {std::optional<double>(), std::optional<double>(0.0)}) {
    SquadModuleOptions options = run.module_options();
    options.null_threshold = threshold;
    options.n_best = 2;
    lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
    trainer.predict(std::make_shared<SquadModule>(options),
                    std::make_shared<SquadDataModule>(run.data_options()), {});
    const auto read = [&](const char* name) {
      return lightning::read_file(trainer.run_dir() / name);
    };
    const auto count = [](const std::string& text, const std::string& part) {
      int64_t found = 0;
      for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++found;
      }
      return found;
    };
    const std::string n_best = read("nbest_predictions.json");
    const std::string null_odds = read("null_odds.json");
    for (const std::string id : {"\"has0\"", "\"none\"", "\"has1\""}) {
      CHECK(count(n_best, id) == 1);
      CHECK(count(null_odds, id) == 1);
    }
    for (const char* key : {"probability", "start_logit", "end_logit"}) {
      CHECK(count(n_best, concat("\"", key, "\": ")) == count(n_best, "\"text\": "));
    }
    // Two spans each, and "no answer" among them or as a third where that may be the answer.
    CHECK(count(n_best, "\"text\": \"\"") == (threshold ? 3 : 0));
    for (const auto& entry : std::filesystem::directory_iterator(trainer.run_dir())) {
      CHECK_FALSE(entry.path().filename().string().starts_with("."));
    }
  }
}

namespace {

/// What is logged while it lives.
class LogLines {
 public:
  LogLines() {
    previous_ = lightning::set_log_sink([this](std::string_view line) { text_ += line; });
  }
  ~LogLines() { lightning::set_log_sink(std::move(previous_)); }
  LogLines(const LogLines&) = delete;
  LogLines& operator=(const LogLines&) = delete;
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  lightning::LogSink previous_;
};

bert_squad::FeatureOptions small_windows() { return {.max_seq_length = 32, .doc_stride = 8}; }

}  // namespace

TEST_CASE("An answer from many windows is that of one window after another", "[squad_module]") {
  const TinyRun run;
  SquadModule module(run.module_options());
  module.eval();
  const std::string context = lightning_tests::letters(1500);
  std::vector<std::pair<int64_t, int64_t>> progress;
  const auto answer =
      module.answer("a b c", context, small_windows(),
                    [&](int64_t done, int64_t total) { progress.emplace_back(done, total); });

  bert_squad::SquadData data;
  data.contexts = {context};
  data.questions = {{"q", "a b c", 0, {}}};
  bert_squad::FeatureOptions options = small_windows();
  options.labels = false;
  const auto features = make_features(std::move(data), module.tokenizer(), options);
  bert_squad::SquadDataset dataset(features, module.tokenizer().pad_id());
  bert_squad::AnswerDecoder decoder({});
  for (int64_t row = 0; row < dataset.size(); ++row) {
    const torch::NoGradGuard no_grad;
    const auto batch = dataset.get_batch({&row, 1}, {});
    const auto logits = module.model()->forward(batch["input_ids"], batch["token_type_ids"],
                                                batch["attention_mask"]);
    const auto length = static_cast<size_t>(logits.start.size(1));
    decoder.add(features, row, {logits.start.const_data_ptr<float>(), length},
                {logits.end.const_data_ptr<float>(), length});
  }
  CHECK(answer.text == decoder.best_span(0).text);
  CHECK(answer.score == Approx(decoder.spans(0).front().score()));
  CHECK(answer.no_answer_score == Approx(decoder.best_span(0).no_answer_score).margin(1e-5));

  // Several windows at a time, but not all of them.
  const int64_t total = dataset.size();
  REQUIRE(progress.size() >= 4);
  CHECK(static_cast<int64_t>(progress.size()) < total / 4);
  CHECK(progress.front() == std::pair<int64_t, int64_t>(0, total));
  CHECK(progress.back() == std::pair(total, total));
  for (const auto& [done, of] : progress) CHECK(of == total);
}

TEST_CASE("A question or a passage that is cut is said with the answer", "[squad_module]") {
  const TinyRun run;
  SquadModule module(run.module_options());
  module.eval();
  const auto said = [&](int question, int context, bert_squad::FeatureLayout layout) {
    bert_squad::FeatureOptions options = small_windows();
    options.layout = layout;
    const LogLines lines;
    module.answer(lightning_tests::letters(question), lightning_tests::letters(context), options);
    return lines.text();
  };
  using enum bert_squad::FeatureLayout;
  CHECK_THAT(said(40, 50, kWindows),
             Contains("question has 40 tokens, only the first 16 are used") &&
                 Contains("max_seq_length is 32"));
  CHECK(said(16, 500, kWindows).empty());
  CHECK_THAT(said(3, 50, kContextFirst), Contains("passage has 50 tokens, only the first 26"));
  CHECK_THAT(said(41, 51, kContextFirst),
             Contains("question has 41") && Contains("passage has 51"));
}

TEST_CASE("A file's cut questions are said once", "[squad_data_module]") {
  const TinyRun run;
  std::ofstream(run.file())
      << R"({"data": [{"title": "A", "paragraphs": [{"context": "a b", "qas": [)"
      << R"({"id": "fits", "question": "b"}, {"id": "long1", "question": ")"
      << lightning_tests::letters(20) << R"("}, {"id": "long2", "question": ")"
      << lightning_tests::letters(21) << R"("}]}]}]})";
  const LogLines lines;
  lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
  trainer.predict(std::make_shared<SquadModule>(run.module_options()),
                  std::make_shared<SquadDataModule>(run.data_options()), {});
  const std::string text = lines.text();
  CHECK_THAT(text, Contains("2 questions are longer than max_seq_length 32") &&
                       Contains("long1 (20 tokens, 16 kept), long2 (21 tokens, 16 kept)"));
  CHECK(text.find("are longer than") == text.rfind("are longer than"));
}

TEST_CASE("A file of one question is counted in the singular", "[squad_data_module]") {
  const TinyRun run;
  const auto said = [&](const std::string& questions) {
    std::ofstream(run.file()) << R"({"data": [{"paragraphs": [{"context": "a b", "qas": [)"
                              << questions << "]}]}]}";
    const LogLines lines;
    lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
    trainer.predict(std::make_shared<SquadModule>(run.module_options()),
                    std::make_shared<SquadDataModule>(run.data_options()), {});
    return lines.text();
  };
  CHECK_THAT(said(R"({"id": 1, "question": "b"})"), Contains(": 1 question, 1 window of"));
  CHECK_THAT(said(R"({"id": 1, "question": "b"}, {"id": 2, "question": "b"})"),
             Contains(": 2 questions, 2 windows of"));
}

TEST_CASE("A folder as data file is named with its option", "[squad_data_module]") {
  const TinyRun run;
  lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
  auto options = run.data_options();
  options.val_file = run.model();
  CHECK_THROWS_WITH(trainer.validate(std::make_shared<SquadModule>(run.module_options()),
                                     std::make_shared<SquadDataModule>(options)),
                    Contains("data.val_file " + run.model().string() + " is a folder") &&
                        Contains("HINT: give a file in it"));
}

TEST_CASE("There is no answer without a question and a text", "[squad_module]") {
  const TinyRun run;
  SquadModule module(run.module_options());
  module.eval();
  const std::string invisible = "\xE2\x80\x8B";  // a zero-width space is no token
  for (const std::string& empty : {std::string(), std::string(" \n"), invisible}) {
    CHECK_THROWS_WITH(module.answer("a", empty, small_windows()),
                      Contains("context holds no token"));
    CHECK_THROWS_WITH(module.answer(empty, "a b", small_windows()),
                      Contains("question holds no token"));
  }
  CHECK_THROWS_WITH(module.answer("a", "a b", {.max_seq_length = 65}),
                    Contains("max_seq_length is 65") && Contains("HINT") && Contains("64"));
}

TEST_CASE("A model that diverged says so with its scores and its answers", "[squad_module]") {
  const TinyRun run;
  const auto module = std::make_shared<SquadModule>(run.module_options());
  {
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : module->parameters()) parameter.fill_(std::nanf(""));
  }
  const LogLines lines;
  lightning::Trainer trainer(run.trainer_options(), {}, lightning::Loggers{});
  trainer.validate(module, std::make_shared<SquadDataModule>(run.data_options()));
  const std::string warning = "scores of 3 of 3 questions are not finite numbers";
  CHECK_THAT(lines.text(), Contains(warning));
  CHECK(lines.text().find(warning) == lines.text().rfind(warning));
  module->eval();
  CHECK_THROWS_WITH(module->answer("a", "a b", small_windows()),
                    Contains("not finite numbers") && Contains("HINT"));
}

TEST_CASE("Model folders and checkpoints are told apart", "[squad_module]") {
  const TinyRun run;
  CHECK(SquadModule::option_of_folder(run.model()) == "model.pretrained");
  const auto checkpoint = run.model().parent_path() / "a.ckpt";
  SquadModule module(run.module_options());
  lightning::Checkpoint{.model = model_state(module), .assets = module.checkpoint_assets()}.write(
      checkpoint);
  CHECK(SquadModule::option_of_folder(checkpoint).empty());
  CHECK(SquadModule::option_of_folder(run.model() / "nothing").empty());
  CHECK_THROWS_WITH(SquadModule({.pretrained = checkpoint}),
                    Contains("--ckpt_path " + checkpoint.string()) && Contains("export"));
}

TEST_CASE("An exported folder holds the same model", "[squad_module]") {
  const TinyRun run;
  const SquadModule module(run.module_options());
  const auto parent = run.model().parent_path() / "new";
  const auto check = [&](const std::filesystem::path& output) {
    const SquadModule copy({.pretrained = output});
    const auto parameters = copy.named_parameters();
    REQUIRE(parameters.keys() == module.named_parameters().keys());
    for (const auto& entry : module.named_parameters()) {
      CHECK(torch::equal(parameters[entry.key()], entry.value()));
    }
    CHECK(copy.tokenizer().encode("a b z").ids == module.tokenizer().encode("a b z").ids);
    CHECK(copy.model()->config().hidden_size == module.model()->config().hidden_size);
    for (const char* name : {"config.json", "special_tokens_map.json", "tokenizer_config.json"}) {
      CHECK(std::filesystem::exists(output / name));
    }
  };
  export_folder(module, parent / "a/");
  check(parent / "a");
  std::filesystem::create_directory(parent / "b");
  export_folder(module, parent / "b");
  check(parent / "b");
  CHECK(std::distance(std::filesystem::directory_iterator(parent), {}) == 2);

  std::filesystem::create_symlink(parent / "nothing", parent / "link");
  CHECK_THROWS_WITH(bert_squad::check_export_folder(parent / "link"),
                    Contains("is a link") && Contains("HINT"));
  std::filesystem::remove(parent / "link");
  std::ofstream(parent / "file") << "x";
  CHECK_THROWS_WITH(export_folder(module, parent / "a"),
                    Contains("files in it") && Contains("HINT"));
  CHECK_THROWS_WITH(export_folder(module, parent / "file"), Contains("is a file"));
  CHECK_THROWS_WITH(export_folder(module, ""), Contains("output is empty") && Contains("--output"));
}

TEST_CASE("A folder that can't be exported leaves nothing behind", "[squad_module]") {
  const TinyRun run;
  const SquadModule module(run.module_options());
  const auto parent = run.model().parent_path() / "new";
  std::filesystem::create_directory(parent);
  using lightning_tests::DiskCall;
  for (const DiskCall call : {DiskCall::kWrite, DiskCall::kSync, DiskCall::kRename}) {
    lightning_tests::FaultyFileSystem disk;
    disk.fail(call, call == DiskCall::kRename ? 0 : 2, ENOSPC);
    const lightning::ScopedFileSystem scope(disk);
    CHECK_THROWS_AS(export_folder(module, parent / "a"), lightning::CheckpointError);
    CHECK(std::filesystem::is_empty(parent));
  }
}
