#include <lightning/checkpoint/detail/mapped_file.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning::detail {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw CheckpointError(io_error_text("read", path, errno));
  struct stat status;
  int error = ::fstat(descriptor, &status) == 0 ? 0 : errno;
  const bool regular = error == 0 && S_ISREG(status.st_mode);
  if (regular && status.st_size > 0) {
    size_bytes_ = static_cast<size_t>(status.st_size);
    void* address = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      error = errno;
    } else {
      data_ = static_cast<const char*>(address);
    }
  }
  ::close(descriptor);
  if (error != 0) throw CheckpointError(io_error_text("read", path, error));
  LIGHTNING_CHECK(regular, CheckpointError, "can't read \"", path.string(),
                  "\": it is not a regular file. HINT: check the path.");
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_bytes_);
}

}  // namespace lightning::detail
