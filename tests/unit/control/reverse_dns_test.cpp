// Ranks find one another without asking for names of addresses: where a name server doesn't answer,
// each question would hold a rank up for seconds.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/util/file_system.h>

#include "support/forked_ranks.h"
#include "support/skip.h"
#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using lightning::World;
using lightning_tests::exit_code;
using lightning_tests::expect;
using lightning_tests::fork_process;
using lightning_tests::run_world;
using lightning_tests::TemporaryFolder;

namespace {

constexpr int kNoRight = 77;

/// A machine (this process and its children) without /etc/hosts, whose name server never answers.
class SilentNameServer {
 public:
  explicit SilentNameServer(const fs::path& folder) {
    if (::unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        std::system("ip link set lo up") != 0) {
      return;
    }
    socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(53);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    made_ = ::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
            replace("/etc/resolv.conf", folder / "resolv.conf",
                    "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n") &&
            replace("/etc/hosts", folder / "hosts", "") &&
            replace("/etc/nsswitch.conf", folder / "nsswitch.conf", "hosts: files dns\n");
  }

  bool made() const { return made_; }
  /// Questions since the last call.
  int take_questions() const {
    int questions = 0;
    char question[512];
    while (::recv(socket_, question, sizeof(question), MSG_DONTWAIT) >= 0) ++questions;
    return questions;
  }

 private:
  static bool replace(const char* path, const fs::path& by, const std::string& text) {
    lightning::write_file_atomically(by, text);
    return ::mount(by.c_str(), path, nullptr, MS_BIND, nullptr) == 0;
  }

  int socket_ = -1;
  bool made_ = false;
};

/// Asks for the name of 127.0.0.1.
void ask_for_a_name() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  char name[256];
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), sizeof(address), name, sizeof(name),
                nullptr, 0, NI_NAMEREQD);
}

}  // namespace

TEST_CASE("ranks don't ask for the names of addresses when they meet", "[process]") {
  // Between nodes Gloo's rendezvous does: each client of LibTorch's TCPStore asks for the name of
  // its address.
  const TemporaryFolder folder;
  const pid_t machine = fork_process([&] {
    const SilentNameServer server(folder.path());
    if (!server.made()) return kNoRight;
    ask_for_a_name();
    expect(server.take_questions() > 0, "a question that is counted");
    const std::vector<int> codes = run_world(3, [](World& world) {
      at::Tensor tensor = torch::ones({2});
      world.group().all_reduce(tensor);
      return 0;
    });
    expect(codes == std::vector<int>{0, 0, 0}, "ranks that meet");
    expect(server.take_questions() == 0, "no question");
    return 0;
  });
  const int code = exit_code(machine);
  if (code == kNoRight) SKIP_TEST("no right to make namespaces");
  CHECK(code == 0);
}
