// What is special to collectives in shared memory; process_group_test.cpp has what holds for every
// backend.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include <torch/torch.h>
#include <catch2/catch.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <lightning/collectives/detail/shared_memory.h>
#include <lightning/collectives/process_group.h>
#include <lightning/util/error.h>

#include "support/thread_ranks.h"

using Catch::Contains;
using lightning::DistributedError;
using lightning::ProcessGroup;
using lightning::ProcessGroupBackend;
using lightning::Reduction;
using lightning::detail::SharedMemory;
using lightning_tests::run_ranks;
using lightning_tests::ThreadControlPlane;

namespace {

using Control = std::shared_ptr<ThreadControlPlane>;

std::shared_ptr<ProcessGroup> create(const Control& control) {
  return ProcessGroup::create(control, at::kCPU, ProcessGroupBackend::kSharedMemory);
}

// Catch2's assertions are for one thread; ranks report by this.
void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

/// Rank `rank`'s tensor number `index`, which every rank can make.
at::Tensor random_of(int64_t rank, int64_t index, int64_t size) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(rank * 1000 + index);
  return torch::randn({size}, generator);
}

/// How many of this process's files are nameless memory.
int64_t open_memories() {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const std::string target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (target.find("memfd:lightning") != std::string::npos) ++count;
  }
  return count;
}

constexpr int64_t kFloatsInBlock = SharedMemory::kBlockBytes / 4;

}  // namespace

TEST_CASE("tensors of any size are summed in the order of the ranks, with equal bits on all") {
  const int64_t ranks = GENERATE(2, 3, 4);
  const int64_t size =
      GENERATE(0, 1, 4095, 4096, kFloatsInBlock, kFloatsInBlock + 1, 3 * kFloatsInBlock + 7);
  CAPTURE(ranks, size);
  run_ranks(ranks, [&](const Control& control) {
    const auto group = create(control);
    at::Tensor sum = random_of(control->rank(), 0, size);
    group->all_reduce(sum);
    at::Tensor expected = random_of(0, 0, size);
    for (int64_t rank = 1; rank < ranks; ++rank) expected += random_of(rank, 0, size);
    expect(torch::equal(sum, expected), "the sum in the order of the ranks");

    const int64_t root = ranks - 1;
    at::Tensor copied = random_of(control->rank(), 1, size);
    group->broadcast(copied, root);
    expect(torch::equal(copied, random_of(root, 1, size)), "the last rank's tensor");

    const at::Tensor all = group->all_gather(random_of(control->rank(), 2, size));
    for (int64_t rank = 0; rank < ranks; ++rank) {
      expect(torch::equal(all.narrow(0, rank * size, size), random_of(rank, 2, size)),
             "the tensor of rank " + std::to_string(rank));
    }
  });
}

TEST_CASE("reduce_scatter gives each rank the bits that all_reduce gives its part") {
  const int64_t ranks = GENERATE(2, 3, 4);
  const int64_t slice = kFloatsInBlock / ranks;
  const int64_t size = GENERATE_COPY(int64_t{0}, int64_t{1}, slice, slice + 1, 3 * slice + 7);
  CAPTURE(ranks, size);
  run_ranks(ranks, [&](const Control& control) {
    const auto group = create(control);
    c10d::ProcessGroup& c10d = *group->c10d();
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      const at::Tensor before = random_of(control->rank(), 0, ranks * size).to(dtype);
      for (const auto operation : {c10d::ReduceOp::SUM, c10d::ReduceOp::AVG, c10d::ReduceOp::MAX}) {
        const std::string what = c10::str(at::toString(dtype), ", operation ", int{operation});
        at::Tensor input = before.clone();
        std::vector<at::Tensor> all{input.clone()};
        c10d::AllreduceOptions all_options;
        all_options.reduceOp = operation;
        c10d.allreduce(all, all_options)->wait();
        const at::Tensor expected = all[0].narrow(0, control->rank() * size, size);

        c10d::ReduceScatterOptions options;
        options.reduceOp = operation;
        at::Tensor part = torch::empty({size}, dtype);
        c10d._reduce_scatter_base(part, input, options)->wait();
        expect(torch::equal(part, expected), "its part of all_reduce, " + what);
        expect(torch::equal(input, before), "an input that is left alone, " + what);

        at::Tensor own = input.narrow(0, control->rank() * size, size);
        c10d._reduce_scatter_base(own, input, options)->wait();
        expect(torch::equal(own, expected), "the same in place, " + what);
      }
    }
    control->barrier("end");
  });
}

TEST_CASE("ranks that are late at random read what was meant for them") {
  const int64_t ranks = GENERATE(2, 4);
  run_ranks(ranks, [&](const Control& control) {
    const auto group = create(control);
    // All ranks draw the same sizes, and each its own delays.
    std::mt19937 sizes(1);
    std::mt19937 delays(static_cast<unsigned>(control->rank()) + 100);
    for (int i = 0; i < 300; ++i) {
      const auto size = static_cast<int64_t>(sizes() % (2 * kFloatsInBlock));
      at::Tensor sum = torch::full({size}, static_cast<double>(control->rank() + i));
      if (delays() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(delays() % 900));
      group->all_reduce(sum);
      const double expected =
          static_cast<double>(i * ranks) + static_cast<double>(ranks * (ranks - 1)) / 2;
      expect(torch::equal(sum, torch::full({size}, expected)), "sum " + std::to_string(i));

      const at::Tensor parts = torch::arange(ranks * (size / ranks), at::kFloat);
      if (delays() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(delays() % 900));
      const at::Tensor part = group->reduce_scatter(parts + control->rank());
      const at::Tensor part_sum = parts * ranks + ranks * (ranks - 1) / 2;
      expect(torch::equal(part, part_sum.chunk(ranks)[static_cast<size_t>(control->rank())]),
             "part " + std::to_string(i));
    }
  });
}

TEST_CASE("a rank that waits for long sleeps, and wakes when the last one comes") {
  run_ranks(2, [](const Control& control) {
    const auto group = create(control);
    if (control->rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    timespec before{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    group->barrier();
    timespec after{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    const double seconds = static_cast<double>(after.tv_sec - before.tv_sec) +
                           static_cast<double>(after.tv_nsec - before.tv_nsec) * 1e-9;
    expect(seconds < 0.25, "half a second of waiting at little cost, took " +
                               std::to_string(seconds) + " s of the processor");
  });
}

TEST_CASE("ranks in different collectives learn who is where") {
  struct Case {
    const char* name;
    std::function<void(ProcessGroup&)> odd;
    const char* message;
  };
  static const std::vector<Case> cases = {
      {"another size",
       [](ProcessGroup& group) {
         at::Tensor tensor = torch::ones({5});
         group.all_reduce(tensor);
       },
       "rank 2 is in all_reduce of 20 bytes of Float"},
      {"another dtype",
       [](ProcessGroup& group) {
         at::Tensor tensor = torch::ones({2}, at::kDouble);
         group.all_reduce(tensor);
       },
       "rank 2 is in all_reduce of 16 bytes of Double"},
      {"another collective", [](ProcessGroup& group) { group.barrier(); },
       "rank 2 is in barrier of 0 bytes"},
      {"another way to sum", [](ProcessGroup& group) { group.reduce_scatter(torch::ones({6})); },
       "rank 2 is in reduce_scatter of 24 bytes of Float"},
      {"another reduction",
       [](ProcessGroup& group) {
         at::Tensor tensor = torch::ones({4});
         group.all_reduce(tensor, Reduction::kMax);
       },
       "rank 2 is in all_reduce of 16 bytes of Float"}};
  for (const Case& odd : cases) {
    DYNAMIC_SECTION(odd.name) {
      std::vector<std::string> errors(3);
      run_ranks(3, [&](const Control& control) {
        const auto group = create(control);
        try {
          if (control->rank() == 2) {
            odd.odd(*group);
          } else {
            at::Tensor tensor = torch::ones({4});
            group->all_reduce(tensor);
          }
        } catch (const DistributedError& error) {
          errors[static_cast<size_t>(control->rank())] = error.what();
        }
      });
      CHECK_THAT(errors[0], Contains(odd.message) && Contains("rank 0 in all_reduce of 16 bytes"));
      CHECK_THAT(errors[1], Contains(odd.message) && Contains("rank 1 in all_reduce of 16 bytes"));
      CHECK_THAT(errors[2], Contains("rank 0 is in all_reduce of 16 bytes of Float"));
    }
  }
}

TEST_CASE("no file of the memory stays open") {
  const int64_t before = open_memories();
  run_ranks(3, [&](const Control& control) {
    const auto group = create(control);
    control->barrier("made");
    expect(open_memories() == before, "no file");
    control->barrier("looked");
  });
}

TEST_CASE("when one rank can't map the memory all take Gloo, or say so if told not to") {
  run_ranks(3, [](const Control& control) {
    // As in a container, where the other processes can't be seen.
    if (control->rank() == 1) {
      control->change_heard = [](std::string_view name, std::string text) {
        return name == "shared_memory" ? "0 3 11" : text;
      };
    }
    const auto group = ProcessGroup::create(control, at::kCPU, ProcessGroupBackend::kAuto);
    expect(group->backend() == "gloo", "Gloo on all ranks");
    at::Tensor tensor = torch::ones({3});
    group->all_reduce(tensor);
    expect(torch::equal(tensor, torch::full({3}, 3.0)), "a sum");
    std::string error;
    try {
      create(control);
    } catch (const lightning::ConfigError& thrown) {
      error = thrown.what();
    }
    expect(error.find("process_group_backend is shared_memory") != std::string::npos &&
               error.find("HINT") != std::string::npos,
           "an error on all ranks, got " + error);
    control->barrier("end");
  });
}

TEST_CASE("memory of another process with the same number isn't taken for the ranks' own") {
  run_ranks(2, [](const Control& control) {
    if (control->rank() == 1) {
      control->change_heard = [](std::string_view name, std::string text) {
        return name == "shared_memory" ? text + "0" : text;
      };
    }
    const auto group = ProcessGroup::create(control, at::kCPU, ProcessGroupBackend::kAuto);
    expect(group->backend() == "gloo", "Gloo on both");
    control->barrier("end");
  });
}
