// Classifies MNIST's digits on several processes, with a custom training loop: what the Trainer
// does is written out here.
//   build/release/bin/mnist_ddp --data_dir FOLDER --devices 2               two processes, here
//   srun --nodes 2 --ntasks-per-node 2 build/release/bin/mnist_ddp ...     one process per task
//   torchrun --no-python --nproc-per-node 2 build/release/bin/mnist_ddp ...
//   sbatch sbatch/mnist_ddp.sbatch --data_dir FOLDER
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>

#include <lightning/lightning.h>
#include <lightning/util/interrupted.h>

#include "examples/mnist/digits.h"

namespace {

struct Options {
  std::filesystem::path data_dir = "";
  int64_t batch_size = 64;
  int64_t test_batch_size = 1000;
  int64_t epochs = 14;
  double lr = 1.0;
  double gamma = 0.7;
  double conv_dropout = 0.25;
  double fc_dropout = 0.5;
  uint64_t seed = 1;
  int64_t log_interval = 10;
  bool dry_run = false;
  bool save_model = false;
  std::string devices = "auto";
  std::string accelerator = "auto";
  std::string cluster = "auto";
};
LIGHTNING_FIELDS(Options,
                 LIGHTNING_FIELD(data_dir, "folder of MNIST's IDX files; empty: drawn digits"),
                 LIGHTNING_FIELD(batch_size, "images of each rank in a step"),
                 LIGHTNING_FIELD(test_batch_size, "the same in the test"),
                 LIGHTNING_FIELD(epochs, "times that all images are seen"),
                 LIGHTNING_FIELD(lr, "learning rate of Adadelta"),
                 LIGHTNING_FIELD(gamma, "factor on the learning rate after each epoch"),
                 LIGHTNING_FIELD(conv_dropout,
                                 "fraction of features dropped after the convolutions"),
                 LIGHTNING_FIELD(fc_dropout, "fraction of features dropped before the last layer"),
                 LIGHTNING_FIELD(seed, "of weights, dropout and the order of the images"),
                 LIGHTNING_FIELD(log_interval, "steps from one printed loss to the next"),
                 LIGHTNING_FIELD(dry_run, "a single step"),
                 LIGHTNING_FIELD(save_model, "write the weights to mnist_cnn.safetensors"),
                 LIGHTNING_FIELD(devices, "processes or GPUs on each node"),
                 LIGHTNING_FIELD(accelerator, "auto, cpu or gpu"),
                 LIGHTNING_FIELD(cluster, "auto, slurm, torchrun, mpi, lsf or local"))

class NetImpl : public torch::nn::Module {
 public:
  explicit NetImpl(const Options& options) {
    using namespace torch::nn;
    conv1 = register_module("conv1", Conv2d(1, 32, /*kernel_size=*/3));
    conv2 = register_module("conv2", Conv2d(32, 64, /*kernel_size=*/3));
    dropout1 = register_module("dropout1", Dropout(options.conv_dropout));
    dropout2 = register_module("dropout2", Dropout(options.fc_dropout));
    fc1 = register_module("fc1", Linear(9216, 128));
    fc2 = register_module("fc2", Linear(128, 10));
  }

  torch::Tensor forward(const torch::Tensor& images) {
    // The mean and the deviation of MNIST's pixels.
    torch::Tensor x = (images.unsqueeze(1) - 0.1307) / 0.3081;  // [B, 28, 28] -> [B, 1, 28, 28]
    x = conv1->forward(x).relu();                               // [B, 32, 26, 26]
    x = conv2->forward(x).relu();                               // [B, 64, 24, 24]
    x = dropout1->forward(torch::max_pool2d(x, 2)).flatten(1);  // [B, 9216]
    x = dropout2->forward(fc1->forward(x).relu());              // [B, 128]
    return fc2->forward(x).log_softmax(/*dim=*/1);              // [B, 10]
  }

  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
  torch::nn::Dropout dropout1{nullptr}, dropout2{nullptr};
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
};
TORCH_MODULE(Net);

volatile std::sig_atomic_t told_to_stop = 0;

/// All ranks stop after the same step, whichever of them got the signal: `step` counts through
/// epochs.
bool is_stop(lightning::World& world, int64_t step) {
  if (told_to_stop != 0) {
    world.control().request_stop({.signal = SIGUSR1, .rank = world.rank(), .reason = "SIGUSR1"});
  }
  return world.control().stop_at(step);
}

/// One epoch. Rank 0 prints the loss of some steps. Returns false when it stopped before the end.
bool train(const Options& options, lightning::World& world, Net& model,
           lightning::DistributedDataParallel& ddp, torch::optim::Optimizer& optimizer,
           lightning::DataLoader& loader, int64_t num_images, int64_t epoch) {
  model->train();
  loader.begin_epoch(epoch);
  const int64_t steps = *loader.num_batches();
  for (int64_t step = 0; step < steps; ++step) {
    const lightning::Batch batch = loader.next()->to(world.device());
    // The weight is 1, but in the epoch's last batch: with it, each image counts the same there.
    torch::Tensor loss =
        batch.rank_weight() * torch::nll_loss(model->forward(batch["image"]), batch["label"]);
    optimizer.zero_grad();
    ddp.backward(loss);
    optimizer.step();
    if (step % options.log_interval == 0) {
      // A collective, so not inside the condition below: every rank must take part.
      loss = loss.detach() / world.size();
      world.group().all_reduce(loss);
      if (world.is_rank_zero()) {
        std::printf("Train Epoch: %ld [%ld/%ld (%.0f%%)]\tLoss: %.6f\n", epoch + 1,
                    step * options.batch_size * world.size(), num_images,
                    100.0 * static_cast<double>(step) / static_cast<double>(steps),
                    loss.item<double>());
        std::fflush(stdout);
      }
    }
    if (options.dry_run) return true;
    if (is_stop(world, epoch * steps + step)) return false;
  }
  return true;
}

/// Each rank looks at its share of the test images, each image once; the sums are those of all.
void test(lightning::World& world, Net& model, lightning::DataLoader& loader) {
  const torch::NoGradGuard no_grad;
  model->eval();
  loader.begin_epoch(0);
  // Sum of losses, right answers, images.
  torch::Tensor totals = torch::zeros({3}, torch::dtype(torch::kFloat64).device(world.device()));
  while (const auto next = loader.next()) {
    const lightning::Batch batch = next->to(world.device());
    const torch::Tensor scores = model->forward(batch["image"]);
    totals[0] += torch::nll_loss(scores, batch["label"], /*weight=*/{}, at::Reduction::Sum);
    totals[1] += (scores.argmax(/*dim=*/1) == batch["label"]).sum();
    totals[2] += batch.batch_size();
  }
  world.group().all_reduce(totals);
  if (!world.is_rank_zero()) return;
  totals = totals.cpu();
  const double images = totals[2].item<double>();
  const double correct = totals[1].item<double>();
  std::printf("\nTest set: Average loss: %.4f, Accuracy: %.0f/%.0f (%.2f%%)\n\n",
              totals[0].item<double>() / images, correct, images, 100.0 * correct / images);
  std::fflush(stdout);
}

void say_hello(const lightning::World& world) {
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  std::printf("Hello from rank %ld of %ld on %s (local rank %ld, %s)\n", world.rank(), world.size(),
              host.data(), world.topology().local_rank, world.device().str().c_str());
  std::fflush(stdout);
}

void save(const Net& model) {
  std::vector<std::pair<std::string, torch::Tensor>> weights;
  for (const auto& parameter : model->named_parameters()) {
    weights.emplace_back(parameter.key(), parameter.value());
  }
  lightning::write_safetensors("mnist_cnn.safetensors", weights);
}

int run(const Options& options) {
  // Under srun and torchrun the other ranks are there already; elsewhere this starts them.
  const auto world = lightning::join_world(
      {.accelerator = options.accelerator, .devices = options.devices, .cluster = options.cluster});
  say_hello(*world);
  // SLURM announces the end of a job by it (sbatch --signal).
  std::signal(SIGUSR1, [](int) { told_to_stop = 1; });

  // The same seed on every rank: they must agree on the order of the images.
  lightning::seed_everything(options.seed);
  const mnist::DigitSets digits = mnist::read_digit_sets(options.data_dir, /*seed=*/42);
  Net model(options);
  lightning::DistributedDataParallel ddp(model.ptr(), *world);
  // Dropout is to drop other features on each rank.
  torch::manual_seed(options.seed + static_cast<uint64_t>(world->rank()));

  lightning::DataLoader train_loader(
      digits.train, {.batch_size = options.batch_size, .shuffle = true, .num_workers = 1});
  train_loader.set_shard({.rank = world->rank(), .world_size = world->size()});
  lightning::DataLoader test_loader(digits.test, {.batch_size = options.test_batch_size});
  test_loader.set_shard({.rank = world->rank(),
                         .world_size = world->size(),
                         .uneven = lightning::UnevenInputs::kExact});

  const auto optimizer = std::make_shared<lightning::optim::Adadelta>(
      model->parameters(), lightning::optim::AdadeltaOptions(options.lr));
  lightning::optim::StepLR scheduler(optimizer, /*step_size=*/1, options.gamma);
  bool stopped = false;
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    stopped =
        !train(options, *world, model, ddp, *optimizer, train_loader, digits.train->size(), epoch);
    if (stopped) break;
    test(*world, model, test_loader);
    scheduler.step();
    if (options.dry_run) break;
  }
  if (options.save_model && world->is_rank_zero()) save(model);
  if (stopped) throw lightning::Interrupted(SIGUSR1, "mnist_ddp: stopped by SIGUSR1.");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Prints errors, and waits for the other ranks.
  return lightning::run_main([&] {
    const auto options = lightning::parse_options<Options>(
        argc, argv, "Trains a small convolutional network on MNIST on several processes.");
    return options ? run(*options) : 0;
  });
}
