// BERT on SQuAD: fit, validate, test, predict, and `ask` for single questions.
//   build/release/bin/bert_squad fit --config configs/bert_squad/demo.yaml
#include <iomanip>
#include <iostream>
#include <sstream>

#include <lightning/cli/lightning_cli.h>

#include "examples/callbacks/register.h"
#include "squad_data_module.h"
#include "squad_module.h"
#include "utf8.h"

namespace {

struct AskOptions {
  std::string question = "";
  std::filesystem::path context_file = "";
};
LIGHTNING_FIELDS(AskOptions, LIGHTNING_FIELD(question, "the question"),
                 LIGHTNING_FIELD(context_file, "text file with the passage"))

int ask(lightning::CliContext& context, const AskOptions& options) {
  LIGHTNING_CHECK(!options.question.empty(), ConfigError,
                  "ask: question is empty. HINT: pass --question \"...\".");
  LIGHTNING_CHECK(!options.context_file.empty(), ConfigError,
                  "ask: context_file is empty. HINT: pass --context-file FILE.");
  const std::string passage = bert_squad::read_text_file(options.context_file);
  context.module_from_checkpoint();
  const auto module = context.module_as<bert_squad::SquadModule>();
  const auto data = context.data_module_as<bert_squad::SquadDataModule>();
  const auto answer = module->answer(options.question, passage, data->feature_options());
  const auto threshold = module->options().null_threshold;
  const bool none = answer.text.empty() || (threshold && answer.no_answer_score > *threshold);
  std::cout << (none ? "(no answer)" : answer.text) << std::fixed << std::setprecision(2)
            << "\n  score " << answer.score << ", no answer " << std::showpos
            << answer.no_answer_score << std::noshowpos << " against it\n";
  if (none && !answer.text.empty()) std::cout << "  best span: " << answer.text << "\n";
  return 0;
}

/// The module writes predictions.json itself.
int predict(lightning::CliContext& context) {
  const lightning::RunArguments arguments{.ckpt_path = context.ckpt_path()};
  const auto module = context.module();
  context.trainer().predict(module, context.data_module(), {}, arguments);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  register_example_callbacks();
  return lightning::cli_main<bert_squad::SquadModule, bert_squad::SquadDataModule>(
      argc, argv,
      {.description = "Fine-tunes a BERT to answer questions about passages (SQuAD).",
       .commands = {
           lightning::make_command<AskOptions>(
               "ask", "answers one question about the passage in a text file", ask),
           lightning::make_command(
               "predict", "writes the answers of predict_file to predictions.json", predict)}});
}
