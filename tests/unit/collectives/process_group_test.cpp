#include <lightning/collectives/process_group.h>

#include <signal.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <numeric>
#include <thread>

#include <torch/torch.h>
#include <catch2/catch.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <lightning/accelerators/detail/cuda_plugin.h>
#include <lightning/util/detail/socket.h>
#include <lightning/util/error.h>

#include "support/listening_addresses.h"
#include "support/skip.h"
#include "support/thread_ranks.h"

using Catch::Contains;
using lightning::CollectiveCounters;
using lightning::CollectiveRecord;
using lightning::DistributedError;
using lightning::ProcessGroup;
using lightning::ProcessGroupBackend;
using lightning::Reduction;
using lightning_tests::listening_addresses;
using lightning_tests::run_ranks;
using lightning_tests::ThreadControlPlane;

namespace {

const std::vector<at::ScalarType> kDtypes{at::kFloat, at::kDouble, at::kBFloat16, at::kLong};

// Catch2's assertions are for one thread; ranks report by this.
void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

void expect_equal(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
  expect(actual.dtype() == expected.dtype() && actual.sizes() == expected.sizes() &&
             torch::equal(actual, expected),
         what + ", got " + c10::str(actual) + " instead of " + c10::str(expected));
}

/// [r, r + 1, ..., r + 7] on rank r: small enough to be exact in bfloat16.
at::Tensor counted(int64_t rank, at::ScalarType dtype) {
  return torch::arange(rank, rank + 8, at::kLong).to(dtype);
}

const std::vector<ProcessGroupBackend> kBackends{ProcessGroupBackend::kGloo,
                                                 ProcessGroupBackend::kSharedMemory};

template <typename Body>
void in_worlds(const Body& body) {
  const auto backend = GENERATE(from_range(kBackends));
  for (const int64_t size : {1, 2, 4}) {
    INFO("world size " << size << ", backend " << static_cast<int>(backend));
    run_ranks(size, [&](const std::shared_ptr<ThreadControlPlane>& control) {
      const auto group = ProcessGroup::create(control, at::kCPU, backend);
      expect(group->rank() == control->rank() && group->world_size() == size, "its own place");
      for (const at::ScalarType dtype : kDtypes) body(*group, dtype);
      control->barrier("end");
    });
  }
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DistributedError& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("not a DistributedError: ") + error.what();
  }
  return "no error";
}

std::unique_ptr<c10d::Reducer> make_reducer(const std::vector<at::Tensor>& params,
                                            const ProcessGroup& group) {
  std::vector<size_t> all(params.size());
  std::iota(all.begin(), all.end(), 0);
  return std::make_unique<c10d::Reducer>(
      params, std::vector<std::vector<size_t>>{all}, group.c10d(),
      std::vector<bool>(params.size(), false), 1 << 20, false, true,
      std::unordered_map<size_t, std::string>{}, 1 << 20, false, false, std::vector<int64_t>{});
}

}  // namespace

TEST_CASE("all_reduce combines the tensors of all ranks") {
  in_worlds([](ProcessGroup& group, at::ScalarType dtype) {
    const int64_t size = group.world_size();
    at::Tensor sum = counted(group.rank(), dtype);
    group.all_reduce(sum);
    const at::Tensor expected =
        (torch::arange(8, at::kLong) * size + size * (size - 1) / 2).to(dtype);
    expect_equal(sum, expected, "the sum");

    at::Tensor smallest = counted(group.rank(), dtype);
    group.all_reduce(smallest, Reduction::kMin);
    expect_equal(smallest, counted(0, dtype), "the minimum");

    at::Tensor largest = counted(group.rank(), dtype);
    group.all_reduce(largest, Reduction::kMax);
    expect_equal(largest, counted(size - 1, dtype), "the maximum");
  });
}

TEST_CASE("the minimum and the maximum are NaN where any rank has NaN") {
  in_worlds([](ProcessGroup& group, at::ScalarType dtype) {
    if (!at::isFloatingType(dtype)) return;
    for (int64_t with_nan = 0; with_nan < group.world_size(); ++with_nan) {
      for (const Reduction reduction : {Reduction::kMin, Reduction::kMax}) {
        at::Tensor values = counted(group.rank(), dtype);
        if (group.rank() == with_nan) values[3] = std::nan("");
        group.all_reduce(values, reduction);
        const bool only_there = torch::equal(values.isnan(), torch::arange(8) == 3);
        expect(only_there, "NaN in place 3 alone, got " + c10::str(values));
      }
    }
  });
}

TEST_CASE("all_reduce and broadcast take tensors with gaps and parameters") {
  in_worlds([](ProcessGroup& group, at::ScalarType dtype) {
    const int64_t size = group.world_size();
    const at::Tensor matrix = torch::full({3, 4}, group.rank() + 1, dtype);
    at::Tensor column = matrix.select(1, 2);
    group.all_reduce(column);
    at::Tensor expected = torch::full({3, 4}, group.rank() + 1, dtype);
    expected.select(1, 2).fill_(size * (size + 1) / 2);
    expect_equal(matrix, expected, "the sum in one column");

    if (!at::isFloatingType(dtype)) return;
    at::Tensor parameter = torch::full({2, 3}, group.rank(), dtype).t().requires_grad_();
    group.broadcast(parameter, size - 1);
    expect_equal(parameter.detach(), torch::full({3, 2}, size - 1, dtype), "the last rank's");
    expect(parameter.is_leaf(), "still a leaf");
  });
}

TEST_CASE("broadcast gives all ranks the root's tensor") {
  in_worlds([](ProcessGroup& group, at::ScalarType dtype) {
    for (int64_t root = 0; root < group.world_size(); ++root) {
      at::Tensor tensor = counted(group.rank() * 3, dtype);
      group.broadcast(tensor, root);
      expect_equal(tensor, counted(root * 3, dtype), "the tensor of rank " + std::to_string(root));
    }
  });
}

TEST_CASE("all_gather joins the tensors by rank") {
  in_worlds([](ProcessGroup& group, at::ScalarType dtype) {
    std::vector<at::Tensor> rows;
    for (int64_t rank = 0; rank < group.world_size(); ++rank) {
      rows.push_back(counted(rank, dtype).view({2, 4}));
    }
    const at::Tensor gathered = group.all_gather(counted(group.rank(), dtype).view({2, 4}));
    expect_equal(gathered, torch::cat(rows), "all rows");

    const at::Tensor scalars = group.all_gather(torch::tensor(group.rank()).to(dtype));
    expect_equal(scalars, torch::arange(group.world_size(), at::kLong).to(dtype), "all ranks");
  });
}

TEST_CASE("reduce_scatter gives each rank its part of the sum") {
  in_worlds([](ProcessGroup& group, at::ScalarType dtype) {
    const int64_t size = group.world_size();
    const at::Tensor part = group.reduce_scatter(counted(group.rank(), dtype).view({4, 2}));
    const at::Tensor sum =
        (torch::arange(8, at::kLong) * size + size * (size - 1) / 2).to(dtype).view({4, 2});
    expect_equal(part, sum.chunk(size)[static_cast<size_t>(group.rank())], "its part");
    if (size == 1) return;
    const std::string error =
        error_of([&] { group.reduce_scatter(torch::ones({size + 1}, dtype)); });
    expect(error.find("can share equally. HINT: pad") != std::string::npos, "an error, " + error);
  });
}

TEST_CASE("no rank leaves a barrier before all have come") {
  const auto backend = GENERATE(from_range(kBackends));
  std::atomic<int> arrived = 0;
  run_ranks(4, [&](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    std::this_thread::sleep_for(std::chrono::milliseconds(10 * control->rank()));
    ++arrived;
    group->barrier();
    expect(arrived == 4, "all ranks at the barrier");
    control->barrier("end");
  });
}

TEST_CASE("ranks on GPUs are told why there is no NCCL") {
  if (lightning::detail::cuda_plugin().plugin != nullptr) SKIP_TEST("NCCL is there");
  const auto hub = std::make_shared<lightning_tests::ThreadHub>(2);
  const at::Device gpu(at::kCUDA, 0);
  // At once: the other rank isn't waited for.
  CHECK_THROWS_WITH(
      ProcessGroup::create(std::make_shared<ThreadControlPlane>(hub, 0), gpu),
      Contains("there is no NCCL: " + lightning::detail::cuda_plugin().reason) && Contains("HINT"));
}

TEST_CASE("c10d's own collectives go through the group") {
  const auto backend = GENERATE(from_range(kBackends));
  run_ranks(2, [&](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    c10d::ProcessGroup& c10d = *group->c10d();
    expect(c10d.getSize() == 2 && c10d.getRank() == control->rank(), "its size and rank");
    const double mine = static_cast<double>(control->rank() + 1);

    std::vector<at::Tensor> pair{torch::full({3}, mine), torch::full({2, 2}, 10 * mine)};
    c10d.allreduce_coalesced(pair)->wait();
    expect_equal(pair[0], torch::full({3}, 3.0), "the first sum");
    expect_equal(pair[1], torch::full({2, 2}, 30.0), "the second sum");

    std::vector<at::Tensor> averaged{torch::full({3}, mine)};
    c10d::AllreduceOptions average;
    average.reduceOp = c10d::ReduceOp::AVG;
    const auto work = c10d.allreduce(averaged, average);
    work->getFuture()->waitAndThrow();
    expect_equal(work->getFuture()->value().toTensorVector()[0], torch::full({3}, 1.5), "the mean");

    std::vector<std::vector<at::Tensor>> lists{{torch::zeros({2}), torch::zeros({2})}};
    std::vector<at::Tensor> input{torch::full({2}, mine)};
    c10d.allgather(lists, input)->wait();
    expect_equal(lists[0][1], torch::full({2}, 2.0), "rank 1's tensor");

    std::vector<std::vector<at::Tensor>> parts{{torch::full({2}, mine), torch::full({2}, -mine)}};
    std::vector<at::Tensor> output{torch::zeros({2})};
    c10d.reduce_scatter(output, parts)->wait();
    expect_equal(output[0], torch::full({2}, control->rank() == 0 ? 3.0 : -3.0), "its sum");

    c10d.barrier()->wait();
    expect(group->counters().messages == 5, "five messages");
    expect(group->counters().bytes == (12 + 16) + 12 + 8 + 16, "their bytes");

    at::Tensor from = torch::ones({2});
    at::Tensor to = torch::ones({2});
    std::vector<int64_t> counts;
    bool refused = false;
    try {
      c10d.alltoall_base(to, from, counts, counts);
    } catch (const c10::Error& error) {
      refused = std::string(error.what()).find("does not support alltoall") != std::string::npos;
    }
    expect(refused, "alltoall refused");

    const auto refusal_of = [&](at::Tensor part, std::vector<at::Tensor> given) -> std::string {
      std::vector<at::Tensor> parts_of_output{part};
      std::vector<std::vector<at::Tensor>> given_parts{given};
      try {
        if (given.size() == 1) {
          c10d._reduce_scatter_base(part, given[0])->wait();
        } else {
          c10d.reduce_scatter(parts_of_output, given_parts)->wait();
        }
      } catch (const c10::Error& error) {
        return error.what();
      }
      return "nothing refused";
    };
    const auto expect_refused = [&](const std::string& error, const std::string& text) {
      expect(error.find(text) != std::string::npos, text + ", got " + error);
    };
    const at::Tensor two = torch::ones({2});
    expect_refused(refusal_of(two, {torch::ones({3})}),
                   "an input of [3] of Float and an output of [2] of Float, expected");
    expect_refused(refusal_of(two, {torch::ones({4}, at::kDouble)}), "an input of [4] of Double");
    expect_refused(refusal_of(torch::ones({2, 2}).select(1, 0), {torch::ones({4})}),
                   "an output of [2] of Float with gaps");
    // As many elements as the ranks want, but in unequal parts.
    expect_refused(refusal_of(two, {torch::ones({1}), torch::ones({3})}),
                   "[1] of Float as the part of rank 0 and an output of [2] of Float");
    expect_refused(refusal_of(two, {two, two, two}), "3 parts, expected one for each of 2 ranks");
    expect(group->counters().messages == 5, "nothing sent for what was refused");
    control->barrier("end");
  });
}

TEST_CASE("messages, bytes and the last collectives are recorded") {
  const auto backend = GENERATE(from_range(kBackends));
  run_ranks(2, [&](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    const bool gloo = backend == ProcessGroupBackend::kGloo;
    expect(group->backend() == (gloo ? "gloo" : "shared_memory"), "the backend's name");
    expect(group->counters().messages == 0 && group->last_collectives().empty(), "nothing yet");

    at::Tensor floats = torch::ones({3, 5});
    group->all_reduce(floats);
    at::Tensor halves = torch::ones({7}, at::kBFloat16);
    group->broadcast(halves);
    group->all_gather(torch::ones({2}, at::kLong));
    group->reduce_scatter(torch::ones({4}, at::kDouble));
    group->barrier();
    const CollectiveCounters counters = group->counters();
    expect(counters.messages == 5, "five messages");
    expect(counters.bytes == 60 + 14 + 16 + 32, "the payload's bytes");

    const std::vector<CollectiveRecord> records = group->last_collectives();
    expect(records.size() == 5, "five records");
    const std::vector<std::string> names{"all_reduce", "broadcast", "all_gather", "reduce_scatter",
                                         "barrier"};
    for (size_t i = 0; i < names.size(); ++i) {
      expect(records[i].name == names[i] && records[i].sequence == i + 1, "record of " + names[i]);
      expect(records[i].completed, names[i] + " completed");
    }
    expect(records[0].shape == std::vector<int64_t>{3, 5} && records[0].dtype == at::kFloat,
           "the first's shape");
    expect(records[1].dtype == at::kBFloat16, "the second's dtype");
    expect(std::string(control->status().collective) == "barrier", "the last name as status");
    expect(control->status().sequence == 5 && !control->status().waiting, "nothing in flight");

    for (int i = 0; i < 40; ++i) group->all_reduce(floats);
    expect(group->last_collectives().size() == 32, "the last 32");
    expect(group->last_collectives().back().sequence == 45, "the newest last");
    control->barrier("end");
  });
}

TEST_CASE("fail frees a rank whose peer never comes") {
  const auto backend = GENERATE(from_range(kBackends));
  const std::vector<std::pair<std::string, std::function<void(ProcessGroup&)>>> collectives{
      {"all_reduce",
       [](ProcessGroup& group) {
         at::Tensor tensor = torch::ones({100});
         group.all_reduce(tensor);
       }},
      {"broadcast",
       [](ProcessGroup& group) {
         at::Tensor tensor = torch::ones({100});
         group.broadcast(tensor, 1);
       }},
      {"all_gather", [](ProcessGroup& group) { group.all_gather(torch::ones({100})); }},
      {"reduce_scatter", [](ProcessGroup& group) { group.reduce_scatter(torch::ones({100})); }},
      {"barrier", [](ProcessGroup& group) { group.barrier(); }}};
  const auto& [name, begin] = GENERATE_REF(from_range(collectives));
  INFO(name);
  run_ranks(2, [&, &name = name, &begin = begin](const auto& control) {
    auto group = ProcessGroup::create(control, at::kCPU, backend);
    if (control->rank() == 1) {
      control->barrier("rank 0 waits");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      control->fail("rank 1 ran out of milk");
    } else {
      std::thread peer([&] {
        while (!control->status().waiting) std::this_thread::yield();
        control->barrier("rank 0 waits");
      });
      const std::string error = error_of([&] { begin(*group); });
      peer.join();
      expect(error == "rank 1 ran out of milk", "the cause, " + error);
      expect(control->status().waiting, "the status still says where it waited");
      const CollectiveRecord last = group->last_collectives().back();
      expect(last.name == name && !last.completed, "a record of what never ended");
    }
    expect(group->failed(), "a failed group");
    at::Tensor more = torch::ones({2});
    expect(error_of([&] { group->broadcast(more); }) == "rank 1 ran out of milk", "a later error");
    expect(error_of([&] { group->barrier(); }) == "rank 1 ran out of milk", "one more");
    try {
      group->barrier();
    } catch (const lightning::DistributedError& error) {
      const lightning::Failure failure = error.failure();
      expect(failure.kind == lightning::FailureKind::kThrew && failure.rank == 1, "its kind");
    }
    // Would block if it destroyed what carries the collectives.
    group.reset();
  });
}

TEST_CASE("backward through a Reducer throws when a rank fails") {
  const auto backend = GENERATE(from_range(kBackends));
  run_ranks(2, [&](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    const std::vector<at::Tensor> params{torch::ones({4}).requires_grad_(),
                                         torch::ones({2, 2}).requires_grad_()};
    const auto reducer = make_reducer(params, *group);
    const auto backward = [&] {
      const at::Tensor loss =
          (params[0].sum() + params[1].sum()) * static_cast<double>(2 * control->rank());
      reducer->prepare_for_backward({loss});
      loss.backward();
    };
    backward();
    expect_equal(params[1].grad(), torch::ones({2, 2}), "the mean of 0 and 2");

    if (control->rank() == 0) {
      const std::string error = error_of(backward);
      expect(error == "rank 1 lost its keys", "the cause out of backward, " + error);
    } else {
      while (group->counters().messages < 1) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      control->fail("rank 1 lost its keys");
    }
  });
}

TEST_CASE("a Reducer's step sends each bucket once") {
  const auto backend = GENERATE(from_range(kBackends));
  run_ranks(4, [&](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    const std::vector<at::Tensor> params{torch::ones({1000}).requires_grad_()};
    const auto reducer = make_reducer(params, *group);
    for (int step = 0; step < 3; ++step) {
      params[0].mutable_grad().reset();
      const at::Tensor loss = (params[0] * static_cast<double>(control->rank())).sum();
      reducer->prepare_for_backward({loss});
      loss.backward();
      expect_equal(params[0].grad(), torch::full({1000}, 1.5), "the mean");
    }
    expect(group->counters().messages == 3 && group->counters().bytes == 12'000, "three buckets");
    control->barrier("end");
  });
}

TEST_CASE("a connection that breaks gives the control plane's text") {
  run_ranks(2, [](const std::shared_ptr<ThreadControlPlane>& control) {
    auto group = ProcessGroup::create(control, at::kCPU, ProcessGroupBackend::kGloo);
    control->barrier("connected");
    if (control->rank() == 1) {
      // With nothing in flight its end of the connection closes.
      group.reset();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      control->fail("rank 1 died");
      return;
    }
    at::Tensor tensor = torch::ones({4});
    const std::string error = error_of([&] { group->all_reduce(tensor); });
    expect(error == "rank 1 died", "the cause, not a reset connection: " + error);
  });
}

TEST_CASE("a rank that fails while the others connect ends them") {
  REQUIRE_THROWS_WITH(run_ranks(3,
                                [](const std::shared_ptr<ThreadControlPlane>& control) {
                                  if (control->rank() == 2) {
                                    control->broadcast("tcp_store", "");
                                    control->fail("rank 2 has no disk");
                                    return;
                                  }
                                  ProcessGroup::create(control, at::kCPU,
                                                       ProcessGroupBackend::kGloo);
                                }),
                      Contains("rank 2 has no disk"));
}

TEST_CASE("a store that says nothing doesn't keep a rank that others have failed") {
  run_ranks(2, [](const std::shared_ptr<ThreadControlPlane>& control) {
    if (control->rank() == 1) {
      const std::string error =
          error_of([&] { ProcessGroup::create(control, at::kCPU, ProcessGroupBackend::kGloo); });
      expect(error == "rank 0 is frozen", "the cause, " + error);
      return;
    }
    // As a stopped rank 0 would: the kernel accepts the connection and no process answers.
    const auto silent = lightning::Socket::listen("127.0.0.1", {0});
    control->broadcast("tcp_store", std::to_string(silent.local_port()) + " 127.0.0.1");
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    control->fail("rank 0 is frozen");
  });
}

TEST_CASE("a process group listens at the address of the control plane only") {
  run_ranks(2, [](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, ProcessGroupBackend::kGloo);
    control->barrier("both have their sockets");
    const std::vector<std::string> addresses = listening_addresses();
    expect(!addresses.empty(), "a store that listens");
    for (const std::string& address : addresses) {
      expect(address.starts_with("0100007F:"), "127.0.0.1, got " + address);
    }
    control->barrier("both have looked");
  });
}

TEST_CASE("signals don't disturb collectives") {
  const auto backend = GENERATE(from_range(kBackends));
  struct sigaction previous = {};
  struct sigaction ignored = {};
  ignored.sa_handler = [](int) {};  // without SA_RESTART
  ::sigaction(SIGUSR2, &ignored, &previous);
  run_ranks(2, [&](const std::shared_ptr<ThreadControlPlane>& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    for (int i = 0; i < 200; ++i) {
      ::kill(::getpid(), SIGUSR2);
      at::Tensor tensor = torch::ones({10'000});
      group->all_reduce(tensor);
      expect(tensor.sum().item<double>() == 20'000.0, "the sum");
    }
    control->barrier("end");
  });
  ::sigaction(SIGUSR2, &previous, nullptr);
}

TEST_CASE("a single group does nothing") {
  const auto group = ProcessGroup::single();
  CHECK(group->rank() == 0);
  CHECK(group->world_size() == 1);
  CHECK(group->backend() == "single");
  at::Tensor tensor = torch::arange(6, at::kFloat);
  group->all_reduce(tensor);
  group->broadcast(tensor);
  group->barrier();
  CHECK(torch::equal(tensor, torch::arange(6, at::kFloat)));
  CHECK(torch::equal(group->all_gather(tensor), tensor));
  CHECK(torch::equal(group->reduce_scatter(tensor), tensor));
  CHECK(group->counters().messages == 0);
  CHECK(group->c10d()->getSize() == 1);
}

TEST_CASE("ranks that are threads may use Gloo at the same time") {
  constexpr int kThreads = 3;
  const auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::minutes(1));
  options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")};
  for (int round = 0; round < 300; ++round) {
    std::barrier start(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        std::vector<c10::intrusive_ptr<c10d::ProcessGroupGloo>> groups;
        for (int i = 0; i < 5; ++i) {
          groups.push_back(c10::make_intrusive<c10d::ProcessGroupGloo>(
              c10::make_intrusive<c10d::HashStore>(), 0, 1, options));
        }
        start.arrive_and_wait();
        for (const auto& group : groups) {
          std::vector<at::Tensor> tensors{torch::ones({2})};
          group->allreduce(tensors)->wait();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_CASE("a fake group gives what equal ranks would") {
  const auto group = ProcessGroup::fake(5, 1024);
  CHECK(group->rank() == 5);
  CHECK(group->world_size() == 1024);
  CHECK(group->backend() == "fake");
  at::Tensor sum = torch::full({2}, 0.5);
  group->all_reduce(sum);
  CHECK(torch::equal(sum, torch::full({2}, 512.0)));
  at::Tensor largest = torch::full({2}, 3, at::kLong);
  group->all_reduce(largest, Reduction::kMax);
  CHECK(torch::equal(largest, torch::full({2}, 3, at::kLong)));
  group->broadcast(largest, 7);
  CHECK(torch::equal(group->all_gather(torch::tensor({1, 2})), torch::tensor({1, 2}).repeat(1024)));
  const at::Tensor part = group->reduce_scatter(torch::arange(2048, at::kFloat));
  CHECK(torch::equal(part, torch::tensor({10.0, 11.0}, at::kFloat) * 1024));
  group->barrier();
  CHECK(group->counters().messages == 6);
  CHECK(group->counters().bytes == 8 + 16 + 16 + 16 + 8192);
  const auto by_name = group->counters_by_name();
  CHECK(by_name.size() == 5);
  CHECK(by_name.at("all_reduce").messages == 2);
  CHECK(by_name.at("all_reduce").bytes == 8 + 16);
  CHECK(by_name.at("reduce_scatter").bytes == 8192);
  CHECK(by_name.at("barrier").messages == 1);

  const std::vector<at::Tensor> params{torch::ones({4}).requires_grad_()};
  const auto reducer = make_reducer(params, *group);
  const at::Tensor loss = params[0].sum() * 3;
  reducer->prepare_for_backward({loss});
  loss.backward();
  CHECK(torch::allclose(params[0].grad(), torch::full({4}, 3.0)));
  CHECK(group->counters().messages == 7);
}
