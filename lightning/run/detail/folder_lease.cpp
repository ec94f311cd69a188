#include <lightning/run/detail/folder_lease.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <lightning/util/detail/disk.h>
#include <lightning/util/detail/process.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;
using detail::Life;
using detail::ProcessId;

constexpr const char* kFile = ".lightning-lease";
constexpr size_t kLongestText = 4096;
/// How often an entry is looked at that changes under our hands, or isn't written yet.
constexpr int kAttempts = 50;
constexpr std::chrono::milliseconds kBetweenAttempts{10};

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

struct Holder {
  std::string host;
  std::string since;
  ProcessId process;
  std::optional<LeaseHolder> job;
};

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string text_of_own(const std::optional<LeaseHolder>& job) {
  static int64_t number = 0;  // of a lease of this process, so that no two texts are the same
  nlohmann::ordered_json json = {{"host", detail::host_name()},
                                 {"since", now_text()},
                                 {"process", detail::to_tag(detail::own_process())},
                                 {"number", number++}};
  if (job) {
    json["job"] = job->job;
    json["step"] = job->step;
    json["fit"] = job->fit;
    json["restart"] = job->restart;
  }
  using Handler = nlohmann::json::error_handler_t;
  return json.dump(2, ' ', false, Handler::replace) + "\n";
}

/// Nothing for an empty file, and for one that isn't ours.
std::optional<Holder> parse(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  try {
    Holder holder;
    holder.host = json.at("host").get<std::string>();
    holder.since = json.at("since").get<std::string>();
    const auto process = detail::from_tag(json.at("process").get<std::string>());
    if (!process) return std::nullopt;
    holder.process = *process;
    if (json.contains("job")) {
      holder.job = {.job = json.at("job").get<std::string>(),
                    .step = json.at("step").get<std::string>(),
                    .fit = json.at("fit").get<int64_t>(),
                    .restart = json.at("restart").get<int64_t>()};
    }
    return holder;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::string read_from(int descriptor) {
  std::string text(kLongestText, '\0');
  const ssize_t got = ::pread(descriptor, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

std::string describe(const std::optional<Holder>& holder) {
  if (!holder) return "by a process that didn't say which it is";
  return format("by process {} on {}, since {}", holder->process.pid, holder->host, holder->since);
}

[[noreturn]] void refuse(const fs::path& folder, const std::optional<Holder>& holder) {
  throw ConfigError(
      format("Trainer: folder {} is being written by a different run ({}), expected one run at a "
             "time. HINT: let that run end or stop it; runs at the same time need folders of "
             "their own (start them without ckpt_path, give each ModelCheckpoint its own "
             "dirpath).",
             folder, describe(holder)));
}

/// Whether the path still leads to the open file.
bool is_in_place(int descriptor, const fs::path& path) {
  struct stat opened = {};
  struct stat named = {};
  return ::fstat(descriptor, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

enum class Lock { kOurs, kTaken, kUnsupported };

Lock try_lock(int descriptor) {
  int result = 0;
  do {
    result = ::flock(descriptor, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return Lock::kOurs;
  return errno == EWOULDBLOCK ? Lock::kTaken : Lock::kUnsupported;
}

bool write_text(int descriptor, const std::string& text) {
  return ::ftruncate(descriptor, 0) == 0 &&
         ::pwrite(descriptor, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
         ::fsync(descriptor) == 0;
}

/// What changes with each sign of life. Opened anew, which is when network file systems ask their
/// server.
std::pair<int64_t, std::string> look(const fs::path& file) {
  const Descriptor opened(detail::open_regular_file(file, O_RDONLY));
  struct stat status = {};
  if (opened.get() < 0 || ::fstat(opened.get(), &status) != 0) return {};
  return {int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec,
          read_from(opened.get())};
}

bool gives_sign_of_life(const fs::path& file, const LeaseTimes& times) {
  const auto before = look(file);
  const auto end = std::chrono::steady_clock::now() + times.watched;
  while (std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(
        std::min<std::chrono::milliseconds>(times.sign_of_life, times.watched) / 10);
    if (look(file) != before) return true;
  }
  return false;
}

/// Whether a holder that no lock speaks for may still be at work.
bool may_live(const Holder& holder, Lock lock, const fs::path& file, const LeaseTimes& times) {
  const ProcessId own = detail::own_process();
  const bool same_machine = !own.machine.empty() && holder.process.machine == own.machine;
  if (lock == Lock::kOurs && (same_machine || holder.host == detail::host_name())) return false;
  const Life life = detail::life_of(holder.process);
  if (life != Life::kUnknown) return life == Life::kAlive;
  log_info(format("Trainer: {} was being written {}; watching for {} s whether it still is.",
                  file.parent_path(), describe(holder), times.watched.count() / 1000));
  return gives_sign_of_life(file, times);
}

/// Puts a file of ours, locked already, in the place of the holder's.
int replace(const fs::path& file, const std::string& text) {
  const fs::path fresh =
      file.parent_path() / detail::concat(kFile, ".", detail::to_tag(detail::own_process()));
  ::unlink(fresh.c_str());
  Descriptor opened(detail::open_regular_file(fresh, O_RDWR | O_CREAT | O_EXCL));
  if (opened.get() < 0) throw CheckpointError(io_error_text("write", fresh, -opened.get()));
  try_lock(opened.get());
  if (!write_text(opened.get(), text) || ::rename(fresh.c_str(), file.c_str()) != 0) {
    const int error = errno;
    ::unlink(fresh.c_str());
    throw CheckpointError(io_error_text("write", file, error));
  }
  return opened.release();
}

bool is_earlier_incarnation(const std::optional<Holder>& holder,
                            const std::optional<LeaseHolder>& job) {
  return holder && holder->job && job && holder->job->same_fit(*job) &&
         holder->job->restart < job->restart;
}

}  // namespace

FolderLease::FolderLease(fs::path folder, std::optional<LeaseHolder> job, LeaseTimes times)
    : folder_(std::move(folder)), text_(text_of_own(job)), owner_(::getpid()) {
  const fs::path file = folder_ / kFile;
  for (int attempt = 0;; ++attempt) {
    Descriptor opened(detail::open_regular_file(file, O_RDWR | O_CREAT));
    if (opened.get() < 0) throw CheckpointError(io_error_text("write", file, -opened.get()));
    const Lock lock = try_lock(opened.get());
    const std::optional<Holder> holder = parse(read_from(opened.get()));
    if (is_earlier_incarnation(holder, job)) {
      descriptor_ = replace(file, text_);
      return;
    }
    // Released or taken over meanwhile, or locked by one who hasn't written yet.
    const bool unsettled = !is_in_place(opened.get(), file) || (lock == Lock::kTaken && !holder);
    if (unsettled && attempt < kAttempts) {
      std::this_thread::sleep_for(kBetweenAttempts);
      continue;
    }
    if (unsettled || lock == Lock::kTaken) refuse(folder_, holder);
    if (holder) {
      if (may_live(*holder, lock, file, times)) refuse(folder_, holder);
      log_info(
          format("Trainer: folder {} was left {} without being released; this run takes it "
                 "over.",
                 folder_, describe(holder)));
    }
    if (!write_text(opened.get(), text_)) {
      throw CheckpointError(io_error_text("write", file, errno));
    }
    descriptor_ = opened.release();
    return;
  }
}

FolderLease::FolderLease(FolderLease&& other) noexcept
    : folder_(std::move(other.folder_)),
      text_(std::move(other.text_)),
      owner_(other.owner_),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

FolderLease::~FolderLease() {
  if (descriptor_ < 0) return;
  const fs::path file = folder_ / kFile;
  const bool is_ours = owner_ == ::getpid() && read_from(descriptor_) == text_;
  if (is_ours && is_in_place(descriptor_, file)) ::unlink(file.c_str());
  ::close(descriptor_);
}

void FolderLease::check() const {
  const fs::path file = folder_ / kFile;
  const Descriptor opened(detail::open_regular_file(file, O_RDONLY));
  if (opened.get() < 0) return;
  const std::string text = read_from(opened.get());
  const std::optional<Holder> now = parse(text);
  if (!now || text == text_) return;
  throw DistributedError(
      {FailureKind::kLeaseLost, 0,
       format("Trainer: folder {} is now being written {}, so this process stops writing. HINT: no "
              "action is needed; the other process continues the run.",
              folder_, describe(now))});
}

void FolderLease::give_sign_of_life() const {
  if (descriptor_ >= 0) ::futimens(descriptor_, nullptr);
}

RunLeases::~RunLeases() { release(); }

void RunLeases::take(const std::vector<fs::path>& folders, const std::optional<LeaseHolder>& job) {
  std::vector<FolderLease> taken;
  const auto has = [](const std::vector<FolderLease>& leases, const fs::path& folder) {
    return std::any_of(leases.begin(), leases.end(), [&](const FolderLease& lease) {
      return detail::same_file(lease.folder(), folder);
    });
  };
  for (const fs::path& folder : folders) {
    if (!has(taken, folder) && !has(folders_, folder)) taken.emplace_back(folder, job);
  }
  {
    const std::lock_guard lock(mutex_);
    for (FolderLease& lease : taken) folders_.push_back(std::move(lease));
  }
  checked_ = std::chrono::steady_clock::now();
  if (!folders_.empty() && !signs_of_life_.joinable()) keep_alive();
}

void RunLeases::keep_alive() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // Signals are for the program's own threads.
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  ends_ = false;
  owner_ = ::getpid();
  try {
    signs_of_life_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (!changed_.wait_for(lock, LeaseTimes{}.sign_of_life, [this] { return ends_; })) {
        for (const FolderLease& lease : folders_) lease.give_sign_of_life();
      }
    });
  } catch (const std::system_error&) {
    // Only those who ask from a different machine would miss it.
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void RunLeases::release() {
  if (signs_of_life_.joinable() && owner_ != ::getpid()) signs_of_life_.detach();  // not in here
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (signs_of_life_.joinable()) signs_of_life_.join();
  folders_.clear();
  job_.reset();
}

void RunLeases::check() const {
  if (job_) job_->check();
  for (const FolderLease& lease : folders_) lease.check();
}

void RunLeases::check_now_and_then() {
  // The clock continues while a process is stopped: one that wakes up checks before it writes.
  const auto now = std::chrono::steady_clock::now();
  if (now - checked_ < std::chrono::seconds(1)) return;
  checked_ = now;
  check();
}

}  // namespace lightning
