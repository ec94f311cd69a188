// BERT on SQuAD: fit, validate, test, predict, `ask` for single questions, `export` for
// transformers.
//   build/release/bin/bert_squad fit --config configs/bert_squad/demo.yaml
#include <unistd.h>

#include <cstdio>
#include <iomanip>
#include <iostream>
#include <sstream>

#include <lightning/cli/lightning_cli.h>

#include "examples/callbacks/register.h"
#include "export_folder.h"
#include "squad_data_module.h"
#include "squad_module.h"
#include "utf8.h"

namespace {

using bert_squad::SquadModule;

/// The module with the weights of ckpt_path or of model.pretrained, whichever was given, in eval
/// mode.
std::shared_ptr<SquadModule> trained_module(lightning::CliContext& context) {
  if (!context.ckpt_path().empty()) context.module_from_checkpoint();
  auto module = context.module_as<SquadModule>();
  module->eval();
  return module;
}

struct AskOptions {
  std::string question = "";
  std::filesystem::path context_file = "";
};
LIGHTNING_FIELDS(AskOptions, LIGHTNING_FIELD(question, "the question"),
                 LIGHTNING_FIELD(context_file, "text file with the passage"))

void check_not_blank(const std::string& text, const std::string& where, const char* hint) {
  LIGHTNING_CHECK(text.find_first_not_of(" \t\r\n\v\f") != std::string::npos, ConfigError,
                  "ask: ", where, " is empty, expected text. HINT: ", hint);
}

/// A line on the terminal while a long text is read; nothing where stderr is no terminal.
class ProgressLine {
 public:
  void operator()(int64_t done, int64_t total) {
    if (!on_terminal_ || total == 1) return;
    std::fprintf(stderr, "\r\033[Kask: %lld of %lld windows", static_cast<long long>(done),
                 static_cast<long long>(total));
    if (done == total) std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
  }

 private:
  bool on_terminal_ = ::isatty(STDERR_FILENO) == 1;
};

int ask(lightning::CliContext& context, const AskOptions& options) {
  check_not_blank(options.question, "question", "pass --question \"...\".");
  LIGHTNING_CHECK(bert_squad::find_invalid_utf8(options.question) == std::string::npos, DataError,
                  "ask: question is not valid UTF-8, expected UTF-8 text. HINT: set the terminal's "
                  "encoding to UTF-8.");
  LIGHTNING_CHECK(!options.context_file.empty(), ConfigError,
                  "ask: context_file is empty, expected a text file. HINT: pass --context_file "
                  "FILE.");
  bert_squad::check_is_no_folder(options.context_file, "ask: context_file");
  const std::string passage = bert_squad::read_text_file(options.context_file);
  check_not_blank(passage, "context_file " + options.context_file.string(),
                  "give a file with the text that holds the answer.");
  const auto module = trained_module(context);
  const auto data = context.data_module_as<bert_squad::SquadDataModule>();
  const auto answer =
      module->answer(options.question, passage, data->feature_options(), ProgressLine());
  const auto threshold = module->options().null_threshold;
  const bool none = answer.text.empty() || (threshold && answer.no_answer_score > *threshold);
  std::cout << (none ? "(no answer)" : answer.text) << std::fixed << std::setprecision(2)
            << "\n  score " << answer.score << ", no answer " << std::showpos
            << answer.no_answer_score << std::noshowpos << " against it\n";
  if (none && !answer.text.empty()) std::cout << "  best span: " << answer.text << "\n";
  return 0;
}

/// The module writes the files itself.
int predict(lightning::CliContext& context) {
  const lightning::RunArguments arguments{.ckpt_path = context.ckpt_path()};
  const auto module = context.module();
  context.trainer().predict(module, context.data_module(), {}, arguments);
  return 0;
}

struct ExportOptions {
  std::filesystem::path output = "";
};
LIGHTNING_FIELDS(ExportOptions, LIGHTNING_FIELD(output, "folder to make; new or empty"))

int export_model(lightning::CliContext& context, const ExportOptions& options) {
  bert_squad::check_export_folder(options.output);
  bert_squad::export_folder(*trained_module(context), options.output);
  std::cout << "Exported to " << options.output.string() << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  register_example_callbacks();
  return lightning::cli_main<SquadModule, bert_squad::SquadDataModule>(
      argc, argv,
      {.description = "Fine-tunes a BERT to answer questions about passages (SQuAD).",
       .commands = {
           lightning::make_command<AskOptions>(
               "ask", "answers one question about the passage in a text file", ask),
           lightning::make_command(
               "predict",
               "writes the answers of predict_file, the n best of each and no-answer scores",
               predict),
           lightning::make_command<ExportOptions>(
               "export", "writes a model folder that transformers opens", export_model)}});
}
