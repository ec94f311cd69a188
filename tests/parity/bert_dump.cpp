// What bert_parity.py compares with transformers. Files are safetensors.
//   bert_dump gradients MODEL BATCH OUT   logits, loss and gradients of one batch
//   bert_dump train MODEL BATCHES OUT     losses of a Trainer's fit on all batches in turn; the
//                                         trained model is saved to the folder OUT.model
//   bert_dump save MODEL OUT              loads and saves; prints what was loaded, a line a name
#include <iostream>

#include <torch/utils.h>

#include <lightning/callbacks/callback.h>
#include <lightning/checkpoint/safetensors.h>
#include <lightning/data/data_loader.h>
#include <lightning/trainer/trainer.h>

#include <examples/bert_squad/squad_module.h>

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

/// The rows of the batches "0.input_ids", "1.input_ids" and so on, one after the other.
class Rows : public lightning::Dataset {
 public:
  explicit Rows(const SafetensorsFile& file) {
    static const char* const kNames[] = {"input_ids", "token_type_ids", "attention_mask",
                                         "start_positions", "end_positions"};
    for (int64_t i = 0; file.contains(std::to_string(i) + ".input_ids"); ++i) {
      lightning::Batch batch;
      for (const char* name : kNames) batch.set(name, file.read(std::to_string(i) + "." + name));
      batches_.push_back(std::move(batch));
    }
    batch_size_ = batches_.at(0)["input_ids"].size(0);
  }
  int64_t batch_size() const { return batch_size_; }
  int64_t size() const override { return static_cast<int64_t>(batches_.size()) * batch_size_; }
  lightning::Batch get(int64_t index, lightning::SampleContext&) override {
    lightning::Batch row;
    for (const auto& [name, tensor] :
         batches_.at(static_cast<size_t>(index / batch_size_)).items()) {
      row.set(name, tensor[index % batch_size_]);
    }
    return row;
  }

 private:
  std::vector<lightning::Batch> batches_;
  int64_t batch_size_ = 0;
};

class Losses : public lightning::Callback {
 public:
  void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule&,
                          const lightning::StepOutput& output, const lightning::Batch&,
                          int64_t) override {
    values.push_back(output.loss.clone());
  }
  std::vector<at::Tensor> values;
};

void train(const std::string& folder, const std::string& batches, const std::string& out) {
  const auto module = std::make_shared<bert_squad::SquadModule>(
      bert_squad::SquadModuleOptions{.pretrained = folder});
  const auto rows = std::make_shared<Rows>(SafetensorsFile(batches));
  const auto losses = std::make_shared<Losses>();
  lightning::TrainerOptions options;
  options.accelerator = "cpu";
  options.max_epochs = 1;
  options.gradient_clip_val = 1.0;
  options.enable_checkpointing = false;
  options.enable_progress_bar = false;
  options.default_root_dir = out + ".run";
  lightning::Trainer trainer(options, {losses}, lightning::Loggers{});
  trainer.fit(module, std::make_shared<lightning::DataLoader>(
                          rows, lightning::DataLoaderOptions{.batch_size = rows->batch_size(),
                                                             .num_workers = 2}));
  lightning::write_safetensors(out, {{"losses", at::stack(losses->values)}});
  bert_squad::save_pretrained(*module->model(), out + ".model");
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
