// The smallest data-parallel program: a linear model on random data, without the Trainer.
//   build/release/bin/ddp_minimal --devices 2                               two processes, here
//   srun --nodes 2 --ntasks-per-node 2 build/release/bin/ddp_minimal       one process per task
//   torchrun --no-python --nproc-per-node 2 build/release/bin/ddp_minimal
// Each process is a rank. All of them run this same program from its top.
#include <cstdio>

#include <lightning/lightning.h>

struct Options {
  int64_t epochs = 5;
  int64_t batch_size = 32;
  double learning_rate = 0.01;
  bool shuffle = true;
  uint64_t seed = 0;
  std::string devices = "auto";
  std::string accelerator = "auto";
};
LIGHTNING_FIELDS(Options, LIGHTNING_FIELD(epochs, "times that all samples are seen"),
                 LIGHTNING_FIELD(batch_size, "samples of each rank in a step"),
                 LIGHTNING_FIELD(learning_rate, "of SGD with momentum 0.9"),
                 LIGHTNING_FIELD(shuffle, "a different order of the samples in each epoch"),
                 LIGHTNING_FIELD(seed, "of model, data and order"),
                 LIGHTNING_FIELD(devices, "processes or GPUs on each node"),
                 LIGHTNING_FIELD(accelerator, "auto, cpu or gpu"))

int run(const Options& options) {
  // Under srun and torchrun the other ranks are there already; elsewhere this starts them.
  const auto world =
      lightning::join_world({.accelerator = options.accelerator, .devices = options.devices});
  std::printf("%s\n", lightning::describe(world->topology()).c_str());

  // The same seed on every rank: they must agree on the data and on its order.
  lightning::seed_everything(options.seed);
  auto model = torch::nn::Linear(20, 1);
  const auto x = torch::randn({2048, 20});
  const auto y = x.sum(/*dim=*/1, /*keepdim=*/true) + 0.1 * torch::randn({2048, 1});

  // From here on the ranks' weights are equal, and stay so: backward() averages the gradients.
  lightning::DistributedDataParallel ddp(model.ptr(), *world);
  torch::optim::SGD optimizer(model->parameters(),
                              torch::optim::SGDOptions(options.learning_rate).momentum(0.9));

  // Of each global batch, a rank takes its own samples.
  lightning::DataLoader loader(
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", x}, {"y", y}})),
      {.batch_size = options.batch_size, .shuffle = options.shuffle});
  loader.set_shard({.rank = world->rank(), .world_size = world->size()});

  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    loader.begin_epoch(epoch);
    auto loss_sum = torch::zeros({}, world->device());
    while (auto batch = loader.next()) {
      *batch = batch->to(world->device());
      // The weight is 1, but in a last batch that isn't full.
      const auto loss =
          batch->rank_weight() * torch::mse_loss(model->forward((*batch)["x"]), (*batch)["y"]);
      optimizer.zero_grad();
      ddp.backward(loss);
      optimizer.step();
      loss_sum += loss.detach();
    }
    // A collective: every rank must come here.
    world->group().all_reduce(loss_sum);
    if (world->is_rank_zero()) {
      const auto steps = static_cast<double>(*loader.num_batches() * world->size());
      std::printf("epoch %ld/%ld | loss %.7f\n", epoch + 1, options.epochs,
                  loss_sum.item<double>() / steps);
    }
  }
  return 0;
}

int main(int argc, char** argv) {
  // Prints errors, and waits for the other ranks.
  return lightning::run_main([&] {
    const auto options = lightning::parse_options<Options>(
        argc, argv, "Trains a linear model on random data on several processes.");
    return options ? run(*options) : 0;
  });
}
