// What bert_parity.py compares with transformers. Files are safetensors.
//   bert_dump gradients MODEL BATCH OUT   logits, loss and gradients of one batch
//   bert_dump train MODEL BATCHES OUT     losses of training on all batches in turn; the trained
//                                         model is saved to the folder OUT.model
//   bert_dump save MODEL OUT              loads and saves; prints what was loaded, a line a name
#include <iostream>

#include <torch/utils.h>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/optim/optimizers.h>
#include <lightning/optim/parameter_groups.h>

#include <examples/bert_squad/pretrained.h>

namespace {

using bert_squad::BertForQuestionAnswering;
using lightning::SafetensorsFile;
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct Outcome {
  bert_squad::SpanLogits logits;
  at::Tensor loss;
};

Outcome run(BertForQuestionAnswering& model, const SafetensorsFile& file,
            const std::string& prefix) {
  const auto tensor = [&](const char* name) { return file.read(prefix + name); };
  const auto logits =
      model->forward(tensor("input_ids"), tensor("token_type_ids"), tensor("attention_mask"));
  return {logits,
          bert_squad::span_loss(logits, tensor("start_positions"), tensor("end_positions"))};
}

void dump_gradients(const std::string& folder, const std::string& batch, const std::string& out) {
  auto model = bert_squad::load_pretrained(folder);
  const Outcome outcome = run(model, SafetensorsFile(batch), "");
  outcome.loss.backward();
  NamedTensors tensors = {{"start", outcome.logits.start.detach()},
                          {"end", outcome.logits.end.detach()},
                          {"loss", outcome.loss.detach().view({1})}};
  for (const auto& entry : model->named_parameters()) {
    tensors.emplace_back("grad." + entry.key(), entry.value().grad());
  }
  lightning::write_safetensors(out, tensors);
}

void train(const std::string& folder, const std::string& batches, const std::string& out) {
  auto model = bert_squad::load_pretrained(folder);
  torch::optim::AdamWOptions options(5e-5);
  options.weight_decay(0.01);
  lightning::optim::AdamW optimizer(lightning::optim::weight_decay_groups(*model, options),
                                    options);
  const SafetensorsFile file(batches);
  std::vector<at::Tensor> losses;
  while (file.contains(std::to_string(losses.size()) + ".input_ids")) {
    const Outcome outcome = run(model, file, std::to_string(losses.size()) + ".");
    optimizer.zero_grad();
    outcome.loss.backward();
    optimizer.step();
    losses.push_back(outcome.loss.detach());
  }
  lightning::write_safetensors(out, {{"losses", at::stack(losses)}});
  bert_squad::save_pretrained(*model, out + ".model");
}

void save(const std::string& folder, const std::string& out) {
  bert_squad::LoadReport report;
  const auto model = bert_squad::load_pretrained(folder, &report);
  bert_squad::save_pretrained(*model, out);
  for (const auto& name : report.loaded) std::cout << "loaded " << name << "\n";
  for (const auto& name : report.ignored) std::cout << "ignored " << name << "\n";
  for (const auto& name : report.initialised) std::cout << "initialised " << name << "\n";
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  try {
    torch::manual_seed(1);
    if (words.size() == 4 && words[0] == "gradients") {
      dump_gradients(words[1], words[2], words[3]);
    } else if (words.size() == 4 && words[0] == "train") {
      train(words[1], words[2], words[3]);
    } else if (words.size() == 3 && words[0] == "save") {
      save(words[1], words[2]);
    } else {
      std::cerr << "bert_dump: see the comment at the top of bert_dump.cpp\n";
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
