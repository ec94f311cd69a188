#include "squad_data_module.h"

#include <algorithm>
#include <thread>
#include <utility>

#include <lightning/util/error.h>
#include <lightning/util/log.h>
#include <lightning/util/random.h>

#include "squad_module.h"
#include "utf8.h"

namespace bert_squad {
namespace {

using lightning::detail::concat;

/// "1 window", "2 windows"
std::string counted(size_t count, const char* what) {
  return concat(count, " ", what, count == 1 ? "" : "s");
}

}  // namespace

SquadDataModule::SquadDataModule(Options options) : options_(std::move(options)) {
  save_hyperparameters(options_);
}

void SquadDataModule::setup(lightning::Stage stage) {
  using lightning::Stage;
  if (stage == Stage::kFit && train_ == nullptr) {
    train_ = make_dataset(options_.train_file, "train_file", AnswerUse::kTrain);
  }
  const bool validates = stage == Stage::kFit || stage == Stage::kValidate;
  if (validates && val_ == nullptr && (stage == Stage::kValidate || !options_.val_file.empty())) {
    val_ = make_dataset(options_.val_file, "val_file", AnswerUse::kScore);
  }
  if (stage == Stage::kTest && test_ == nullptr) {
    const bool own = !options_.test_file.empty();
    test_ = make_dataset(own ? options_.test_file : options_.val_file,
                         own ? "test_file" : "val_file", AnswerUse::kScore);
  }
  if (stage == Stage::kPredict && predict_ == nullptr) {
    predict_ = make_dataset(options_.predict_file, "predict_file", AnswerUse::kNone);
  }
}

FeatureOptions SquadDataModule::feature_options() const {
  return {.layout = options_.layout,
          .max_seq_length = options_.max_seq_length,
          .doc_stride = options_.doc_stride,
          .num_threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))};
}

std::shared_ptr<SquadDataset> SquadDataModule::make_dataset(const std::filesystem::path& file,
                                                            const char* key,
                                                            AnswerUse answers) const {
  LIGHTNING_CHECK(!file.empty(), ConfigError, "data.", key,
                  " is empty, expected a SQuAD file. HINT: "
                  "pass --data.",
                  key, " FILE.");
  auto* module = dynamic_cast<SquadModule*>(&trainer().lightning_module());
  LIGHTNING_CHECK(module != nullptr, ConfigError,
                  "SquadDataModule: the module is not a SquadModule, whose tokenizer is needed.");
  module->check_max_seq_length(options_.max_seq_length);
  check_is_no_folder(file, concat("data.", key));
  const bool has_answers = answers != AnswerUse::kNone;
  SquadData data =
      read_squad(file, {.answers = answers, .on_bad_example = options_.on_bad_example});
  const auto is_impossible = [](const SquadQuestion& question) { return question.is_impossible(); };
  if (has_answers && options_.unanswerable == Unanswerable::kDrop) {
    std::erase_if(data.questions, is_impossible);
  }
  const int64_t num_impossible =
      has_answers ? std::count_if(data.questions.begin(), data.questions.end(), is_impossible) : 0;
  FeatureOptions feature_options = this->feature_options();
  feature_options.labels = has_answers;
  const auto features = make_features(std::move(data), module->tokenizer(), feature_options);
  LIGHTNING_CHECK(!features->features.empty(), DataError, "SQuAD file ", file.string(),
                  ": no question is left to use, expected at least one. HINT: ",
                  options_.unanswerable == Unanswerable::kDrop
                      ? "data.unanswerable: drop drops those without an answer."
                      : "data.layout: context_first takes those with an answer only.");
  int64_t longest = 0;
  for (const Feature& feature : features->features) longest = std::max(longest, feature.length());
  std::string text =
      concat(counted(features->data.questions.size(), "question"), ", ",
             counted(features->features.size(), "window"), " of at most ", longest, " tokens");
  if (num_impossible > 0) {
    text += concat(", ", counted(static_cast<size_t>(num_impossible), "question"),
                   " without an answer");
  }
  const size_t num_cut = features->cut_contexts.size();
  if (num_cut > 0) text += concat(", ", counted(num_cut, "passage"), " cut");
  lightning::log_info(concat(file.string(), ": ", text));
  if (const std::string cut = describe_cut_questions(*features, feature_options); !cut.empty()) {
    lightning::log_warning(concat(file.string(), ": ", cut,
                                  ". HINT: raise data.max_seq_length if the model has more "
                                  "positions."));
  }
  return std::make_shared<SquadDataset>(features, module->tokenizer().pad_id(),
                                        options_.padding == Padding::kLongest ? longest : 0);
}

lightning::DataLoaderOptions SquadDataModule::loader_options() const {
  lightning::DataLoaderOptions options = {.batch_size = options_.batch_size,
                                          .num_workers = options_.num_workers};
  if (options_.global_batch_size) {
    options.batch_size = 1;
    options.global_batch_size = options_.global_batch_size;
  }
  return options;
}

lightning::DataLoaders SquadDataModule::train_dataloader() {
  lightning::DataLoaderOptions loader = loader_options();
  loader.shuffle = !options_.length_grouped;
  if (!options_.length_grouped) return std::make_shared<lightning::DataLoader>(train_, loader);
  const auto sampler = std::make_shared<lightning::LengthGroupedSampler>(
      train_->lengths(), lightning::LengthGroupedSamplerOptions{.seed = lightning::global_seed()});
  return std::make_shared<lightning::DataLoader>(train_, sampler, loader);
}

lightning::DataLoaders SquadDataModule::val_dataloader() {
  if (val_ == nullptr) return {};
  return std::make_shared<lightning::DataLoader>(val_, loader_options());
}

lightning::DataLoaders SquadDataModule::test_dataloader() {
  return std::make_shared<lightning::DataLoader>(test_, loader_options());
}

lightning::DataLoaders SquadDataModule::predict_dataloader() {
  return std::make_shared<lightning::DataLoader>(predict_, loader_options());
}

}  // namespace bert_squad
