// SquadModule and SquadDataModule under a Trainer, with a tiny BERT of random weights.
#include "examples/bert_squad/squad_module.h"

#include <fstream>
#include <functional>

#include <catch2/catch.hpp>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/safetensors.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>
#include <torch/utils.h>

#include "examples/bert_squad/export_folder.h"
#include "examples/bert_squad/letters.h"
#include "examples/bert_squad/squad_data_module.h"
#include "support/captured_stderr.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

using bert_squad::SquadDataModule;
using bert_squad::SquadDataModuleOptions;
using bert_squad::SquadModule;
using bert_squad::SquadModuleOptions;
using bert_squad::Unanswerable;
using Catch::Matchers::Contains;
using lightning::ConfigError;
using lightning::DataError;
using lightning::detail::concat;

namespace {

constexpr const char* kQuestions = R"({"data": [{"title": "Letters", "paragraphs": [
  {"context": "a b c d e f", "qas": [
    {"id": "has0", "question": "a b", "answers": [{"text": "c d", "answer_start": 4}]},
    {"id": "none", "question": "x", "is_impossible": true, "answers": []},
    {"id": "has1", "question": "c", "answers": [{"text": "e", "answer_start": 8}]}]}]}]})";

/// A model folder, a SQuAD file and a place for runs.
class TinyRun {
 public:
  TinyRun() {
    torch::manual_seed(1);
    const bert_squad::BertConfig config{.vocab_size = 30,
                                        .hidden_size = 32,
                                        .num_hidden_layers = 2,
                                        .num_attention_heads = 2,
                                        .intermediate_size = 64,
                                        .max_position_embeddings = 64};
    save_pretrained(*bert_squad::BertForQuestionAnswering(config), model());
    lightning_tests::letter_tokenizer().save(model());
    std::ofstream(file()) << kQuestions;
  }

  void remove_head() const {
    const std::filesystem::path file = model() / "model.safetensors";
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    {
      const lightning::SafetensorsFile weights(file);
      for (const auto& info : weights.tensors()) {
        if (!info.name.starts_with("qa_outputs.")) {
          tensors.emplace_back(info.name, weights.read(info.name));
        }
      }
    }
    lightning::write_safetensors(file, tensors);
  }
  std::filesystem::path model() const { return folder_ / "model"; }
  std::filesystem::path file() const { return folder_ / "squad.json"; }
  SquadModuleOptions module_options() const { return {.pretrained = model()}; }
  SquadDataModuleOptions data_options() const {
    return {.train_file = file(),
            .val_file = file(),
            .predict_file = file(),
            .batch_size = 2,
            .max_seq_length = 32,
            .doc_stride = 8};
  }
  lightning::TrainerOptions trainer_options() const {
    lightning::TrainerOptions options;
    options.default_root_dir = folder_.path();
    options.accelerator = "cpu";
    options.max_epochs = 1;
    options.enable_progress_bar = false;
    options.enable_checkpointing = false;
    return options;
  }

 private:
  lightning_tests::TemporaryFolder folder_;
};

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
    CHECK_THROWS_WITH(call(), Contains("model.pretrained is " + folder) && Contains("qa_outputs") &&
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
