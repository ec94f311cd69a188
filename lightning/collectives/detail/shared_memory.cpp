#include <lightning/collectives/detail/shared_memory.h>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <iomanip>
#include <sstream>
#include <string>
#include <utility>

#include <c10/core/ScalarType.h>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

using namespace std::chrono_literals;

// Ranks that have a core each arrive within microseconds of one another; to put a thread to sleep
// and to wake it costs tens of them.
constexpr auto kSpinTime = 100us;
// How often who sleeps looks whether a rank has failed.
constexpr timespec kNapTime{0, 20'000'000};

constexpr size_t kAlignment = 4096;

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t seen) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &kNapTime, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

bool has_come(uint32_t arrivals, uint32_t expected) {
  return static_cast<int32_t>(arrivals - expected) >= 0;
}

/// Of the same length in every run, so that what runs send can be compared.
std::string address_text(pid_t process, int file, uint64_t token) {
  std::ostringstream text;
  text << std::setfill('0') << std::setw(10) << process << ' ' << std::setw(10) << file << ' '
       << std::hex << std::setw(16) << token;
  return text.str();
}

std::string describe(const Announcement& announcement) {
  return concat(announcement.collective, " of ", announcement.bytes, " bytes of ",
                c10::toString(static_cast<c10::ScalarType>(announcement.dtype)));
}

}  // namespace

/// At the head of the memory, one for each rank.
struct SharedMemory::RankState {
  alignas(128) std::atomic<uint32_t> arrivals = 0;
  std::atomic<uint32_t> sleepers = 0;  // ranks that wait for `arrivals` to change
  Announcement announcements[2];       // by parity
};

struct SharedMemory::Mapping {
  struct Head {
    // Tells this memory from that of another process that has got the same number since.
    uint64_t token;
  };

  Mapping(void* address, size_t length) : begin(static_cast<std::byte*>(address)), bytes(length) {}
  ~Mapping() { ::munmap(begin, bytes); }

  static size_t states_bytes(int ranks) {
    const size_t needed = sizeof(RankState) * (static_cast<size_t>(ranks) + 1);
    return (needed + kAlignment - 1) / kAlignment * kAlignment;
  }
  static size_t total_bytes(int ranks) {
    return states_bytes(ranks) + static_cast<size_t>(ranks) * 2 * kBlockBytes;
  }

  /// Null when the system doesn't allow it.
  static std::unique_ptr<Mapping> map(int file, size_t bytes) {
    struct stat status = {};
    if (::fstat(file, &status) != 0 || static_cast<size_t>(status.st_size) != bytes) return nullptr;
    void* begin = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return begin == MAP_FAILED ? nullptr : std::make_unique<Mapping>(begin, bytes);
  }

  uint64_t& token() const { return reinterpret_cast<Head*>(begin)->token; }
  RankState* states() const { return reinterpret_cast<RankState*>(begin) + 1; }

  std::byte* begin;
  size_t bytes;
};

std::unique_ptr<SharedMemory> SharedMemory::create(ControlPlane& control,
                                                   std::function<void()> throw_if_failed) {
  const int rank = static_cast<int>(control.rank());
  const int size = static_cast<int>(control.world_size());
  const size_t bytes = Mapping::total_bytes(size);
  std::unique_ptr<Mapping> mapping;
  int file = -1;
  std::string address;
  if (rank == 0) {
    // Memory without a name: it is gone with the last process, however that ends.
    file = ::memfd_create("lightning", MFD_CLOEXEC);
    if (file >= 0 && ::ftruncate(file, static_cast<off_t>(bytes)) == 0) {
      mapping = Mapping::map(file, bytes);
    }
    uint64_t token = 0;
    if (mapping != nullptr && ::getrandom(&token, sizeof(token), 0) == sizeof(token)) {
      mapping->token() = token;
      for (int r = 0; r < size; ++r) new (mapping->states() + r) RankState();
      address = address_text(::getpid(), file, token);
    }
  }
  std::istringstream fields(control.broadcast("shared_memory", address));
  pid_t process = 0;
  int file_of_rank_0 = -1;
  uint64_t token = 0;
  const bool parsed = static_cast<bool>(fields >> process >> file_of_rank_0 >> std::hex >> token);
  if (rank != 0 && parsed) {
    const std::string path = concat("/proc/", process, "/fd/", file_of_rank_0);
    // Whatever another process's file of that number may be, it isn't to act on being opened.
    file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file >= 0) mapping = Mapping::map(file, bytes);
  }
  const bool mapped = parsed && mapping != nullptr && mapping->token() == token;
  // Rank 0's file must stay open until all have opened it.
  bool by_all = true;
  for (const std::string& answer : control.all_gather("shared_memory_mapped", mapped ? "1" : "0")) {
    by_all = by_all && answer == "1";
  }
  if (file >= 0) ::close(file);
  if (!by_all) return nullptr;
  return std::unique_ptr<SharedMemory>(
      new SharedMemory(std::move(mapping), rank, size, std::move(throw_if_failed)));
}

SharedMemory::SharedMemory(std::unique_ptr<Mapping> mapping, int rank, int size,
                           std::function<void()> throw_if_failed)
    : mapping_(std::move(mapping)),
      rank_(rank),
      size_(size),
      throw_if_failed_(std::move(throw_if_failed)),
      spin_(::sysconf(_SC_NPROCESSORS_ONLN) >= size) {}

SharedMemory::~SharedMemory() = default;

SharedMemory::RankState& SharedMemory::state(int rank) const { return mapping_->states()[rank]; }

std::byte* SharedMemory::block(int rank) const {
  return mapping_->begin + Mapping::states_bytes(size_) +
         (static_cast<size_t>(rank) * 2 + static_cast<size_t>(parity_)) * kBlockBytes;
}

void SharedMemory::meet(const Announcement& announcement) {
  state(rank_).announcements[parity_] = announcement;
  meet_again();
  for (int r = 0; r < size_; ++r) {
    if (!(state(r).announcements[parity_] == announcement)) throw_differing(r);
  }
}

void SharedMemory::meet_again() {
  RankState& own = state(rank_);
  // Either this thread sees the sleeper, or the sleeper sees the arrival.
  own.arrivals.store(++arrivals_, std::memory_order_seq_cst);
  if (own.sleepers.load(std::memory_order_seq_cst) > 0) futex_wake_all(own.arrivals);
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) wait_for(r);
  }
}

void SharedMemory::wait_for(int rank) {
  RankState& other = state(rank);
  const auto come = [&] {
    return has_come(other.arrivals.load(std::memory_order_acquire), arrivals_);
  };
  if (come()) return;
  if (spin_) {
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int i = 0; i < 32; ++i) {
        cpu_relax();
        if (come()) return;
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  while (!come()) {
    throw_if_failed_();
    other.sleepers.fetch_add(1, std::memory_order_seq_cst);
    const uint32_t seen = other.arrivals.load(std::memory_order_seq_cst);
    if (!has_come(seen, arrivals_)) futex_wait(other.arrivals, seen);
    other.sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }
}

void SharedMemory::throw_differing(int rank) const {
  throw DistributedError(
      {FailureKind::kDisagreement, -1,
       concat("process_group: rank ", rank, " is in ", describe(state(rank).announcements[parity_]),
              " and rank ", rank_, " in ", describe(state(rank_).announcements[parity_]),
              ", expected the same collective with the same size, dtype and root on all ranks. "
              "HINT: look for code that runs on some ranks only, or for tensors whose shape "
              "depends on the rank's data.")});
}

}  // namespace lightning::detail
