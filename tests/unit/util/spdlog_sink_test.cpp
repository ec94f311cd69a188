#include <lightning/util/spdlog_sink.h>

#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/ostream_sink.h>
#include <catch2/catch.hpp>

#include <lightning/util/error.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace {

/// An added sink and the lines that it got, and what the terminal got, while it lives.
class Capture {
 public:
  Capture()
      : sink_(std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)),
        previous_(lightning::set_log_sink(
            [this](std::string_view line) { terminal_.append(line).append("\n"); })) {
    sink_->set_pattern("%l: %v");
    lightning::add_log_sink(sink_);
  }
  ~Capture() {
    lightning::remove_log_sink(sink_);
    lightning::set_log_sink(previous_);
    lightning::set_log_rank(0);
  }
  std::string text() const { return text_.str(); }
  const std::string& terminal() const { return terminal_; }
  const std::shared_ptr<spdlog::sinks::ostream_sink_mt>& sink() const { return sink_; }

 private:
  std::ostringstream text_;
  std::string terminal_;
  std::shared_ptr<spdlog::sinks::ostream_sink_mt> sink_;
  lightning::LogSink previous_;
};

class FailingSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  int calls = 0;

 protected:
  void sink_it_(const spdlog::details::log_msg&) override {
    ++calls;
    throw std::runtime_error("no connection");
  }
  void flush_() override {}
};

}  // namespace

TEST_CASE("A spdlog sink of the program gets all messages of its rank, in its own format") {
  const Capture capture;
  lightning::set_log_rank(1);
  lightning::log_info("not printed");
  lightning::log_on_every_rank("printed");
  lightning::log_to_file("a note", lightning::LogLevel::kError);
  lightning::log_warning("spdlog sink test: a warning");
  lightning::log_debug("below the level");
  CHECK(capture.text() ==
        "info: not printed\ninfo: printed\nerror: a note\n"
        "warning: spdlog sink test: a warning\n");
  CHECK(capture.terminal() == "printed\n");

  capture.sink()->set_level(spdlog::level::err);
  lightning::log_info("below the sink's own level");
  lightning::log_error("above it");
  CHECK_THAT(capture.text(), Catch::EndsWith("a warning\nerror: above it\n"));

  lightning::remove_log_sink(capture.sink());
  lightning::log_error("after its removal");
  CHECK_THAT(capture.text(), Catch::EndsWith("above it\n"));
  CHECK_THROWS_AS(lightning::add_log_sink(nullptr), lightning::ConfigError);
}

TEST_CASE("A sink that throws costs one warning, and other sinks their messages never") {
  const auto failing = std::make_shared<FailingSink>();
  lightning::add_log_sink(failing);
  const Capture capture;
  lightning::log_info("first");
  lightning::log_info("second");
  lightning::remove_log_sink(failing);
  const std::string warning = "log: an added sink failed: no connection. Its messages are lost.\n";
  CHECK(capture.terminal() == "first\nwarning: " + warning + "second\n");
  CHECK_THAT(capture.text(), Catch::Contains("info: first\n") &&
                                 Catch::Contains("warning: " + warning) &&
                                 Catch::Contains("info: second\n"));
  CHECK(failing->calls == 3);
}

TEST_CASE("Sinks can be added and removed while other threads log") {
  const Capture capture;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([thread] {
      for (int i = 0; i < 200; ++i) lightning::log_info(lightning::format("{} {}", thread, i));
    });
  }
  for (int i = 0; i < 100; ++i) {
    std::ostringstream text;
    const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text);
    lightning::add_log_sink(sink);
    lightning::remove_log_sink(sink);
    // Others may be in it still; its stream lives no longer.
    while (sink.use_count() > 1) std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  for (int thread = 0; thread < 3; ++thread) {
    CHECK_THAT(capture.text(), Catch::Contains(lightning::format("info: {} 199\n", thread)));
  }
}
