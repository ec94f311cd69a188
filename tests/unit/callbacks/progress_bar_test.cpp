#include <catch2/catch.hpp>

#include <lightning/callbacks/progress_bar.h>

using lightning::format_progress;
using lightning::ProgressLine;

TEST_CASE("A progress line says place, speed, time left and metrics", "[callbacks]") {
  const ProgressLine line{.title = "Epoch 1/2",
                          .done = 450,
                          .total = 1000,
                          .batches_per_second = 10.0,
                          .metrics = {{"train_loss", 0.12345}}};
  CHECK(format_progress(line, 0) ==
        "Epoch 1/2:  45% |#########           | 450/1000 | 10.0 it/s | 0:55 left | "
        "train_loss=0.1235");
  CHECK(format_progress(line, 20).size() == 20);
}

TEST_CASE("A progress line of unknown length has no share and no time left", "[callbacks]") {
  const ProgressLine line{
      .title = "Epoch 1", .done = 7, .total = {}, .batches_per_second = 0.5, .metrics = {}};
  CHECK(format_progress(line, 0) == "Epoch 1: 7 | 2.00 s/it");
}
