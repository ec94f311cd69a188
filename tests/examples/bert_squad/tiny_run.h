/// A tiny BERT of random weights, questions about letters, and options for a Trainer.
#pragma once

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/trainer/trainer.h>
#include <torch/utils.h>

#include "examples/bert_squad/letters.h"
#include "examples/bert_squad/squad_data_module.h"
#include "examples/bert_squad/squad_module.h"
#include "support/temporary_folder.h"

namespace lightning_tests {

inline constexpr const char* kTinyQuestions = R"({"data": [{"title": "Letters", "paragraphs": [
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
    letter_tokenizer().save(model());
    std::ofstream(file()) << kTinyQuestions;
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
  bert_squad::SquadModuleOptions module_options() const { return {.pretrained = model()}; }
  bert_squad::SquadDataModuleOptions data_options() const {
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
  TemporaryFolder folder_;
};

}  // namespace lightning_tests
