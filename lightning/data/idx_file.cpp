#include <lightning/data/idx_file.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <ATen/EmptyTensor.h>
#include <sys/stat.h>
#include <zlib.h>

#include <lightning/util/error.h>

namespace lightning {
namespace {

constexpr uint8_t kUnsignedByte = 0x08;
// Deflate can't make less than 1/1032 of anything: a shape that asks for more is a lie, found
// before its memory is taken.
constexpr int64_t kLargestRatio = 1032;

// gzread() also reads files that are not gzipped, as they are.
class GzipFile {
 public:
  explicit GzipFile(const std::string& path) : path_(path) {
    struct stat status {};
    const bool regular = stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
    if (regular) file_.reset(gzopen(path.c_str(), "rb"));
    LIGHTNING_CHECK(file_ != nullptr, DataError, "read_idx: can't open ", path, ": ",
                    errno != 0 ? std::strerror(errno) : "not a regular file", ".");
    size_on_disk_ = status.st_size;
    gzbuffer(file_.get(), 1 << 17);
  }

  int64_t size_on_disk() const { return size_on_disk_; }

  // The number of bytes read, less than `size` only at the end of the file.
  int64_t read(uint8_t* target, int64_t size) {
    int64_t done = 0;
    while (done < size) {
      const auto piece = static_cast<unsigned>(std::min<int64_t>(size - done, 1 << 30));
      const int count = gzread(file_.get(), target + done, piece);
      if (count < 0) fail();
      if (count == 0) break;
      done += count;
    }
    check_stream();
    return done;
  }

 private:
  // A gzip stream that ends too early is no error of gzread(), only of gzerror().
  void check_stream() {
    int status = Z_OK;
    gzerror(file_.get(), &status);
    if (status != Z_OK && status != Z_STREAM_END) fail();
  }

  [[noreturn]] void fail() {
    int status = Z_OK;
    const char* reason = gzerror(file_.get(), &status);
    if (status == Z_ERRNO) reason = std::strerror(errno);
    throw DataError(detail::concat("read_idx: ", path_, " is damaged or truncated (", reason,
                                   "), a whole IDX file, gzipped or not, was expected."));
  }

  struct Close {
    void operator()(gzFile file) const { gzclose(file); }
  };
  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  int64_t size_on_disk_ = 0;
};

std::vector<int64_t> read_shape(GzipFile& file, const std::string& path) {
  std::array<uint8_t, 4> magic{};
  LIGHTNING_CHECK(file.read(magic.data(), 4) == 4, DataError, "read_idx: ", path,
                  " is shorter than the 4 bytes that begin an IDX file.");
  LIGHTNING_CHECK(magic[0] == 0 && magic[1] == 0 && magic[3] >= 1, DataError, "read_idx: ", path,
                  " begins with the bytes ", int{magic[0]}, " ", int{magic[1]}, " ", int{magic[2]},
                  " ", int{magic[3]},
                  ", an IDX file begins with 0 0, its type and its number of "
                  "dimensions.");
  LIGHTNING_CHECK(magic[2] == kUnsignedByte, DataError, "read_idx: ", path, " has data type ",
                  int{magic[2]}, ", unsigned bytes (type 8) were expected.");
  std::vector<int64_t> shape;
  for (int i = 0; i < int{magic[3]}; ++i) {
    std::array<uint8_t, 4> size{};
    LIGHTNING_CHECK(file.read(size.data(), 4) == 4, DataError, "read_idx: ", path,
                    " is truncated in its header of ", int{magic[3]}, " dimensions.");
    shape.push_back(int64_t{size[0]} << 24 | size[1] << 16 | size[2] << 8 | size[3]);
  }
  return shape;
}

}  // namespace

at::Tensor read_idx(const std::string& path) {
  errno = 0;
  GzipFile file(path);
  const std::vector<int64_t> shape = read_shape(file, path);
  int64_t expected = 1;
  bool possible = true;
  for (const int64_t size : shape) {
    possible = possible && !__builtin_mul_overflow(expected, size, &expected);
  }
  possible = possible && expected <= (file.size_on_disk() + 1) * kLargestRatio;
  LIGHTNING_CHECK(possible, DataError, "read_idx: ", path, " is truncated: ", file.size_on_disk(),
                  " bytes on disk can't hold its shape ", at::IntArrayRef(shape), ".");
  at::Tensor tensor = at::detail::empty_cpu(shape, at::kByte);
  const int64_t count = file.read(tensor.mutable_data_ptr<uint8_t>(), expected);
  LIGHTNING_CHECK(count == expected, DataError, "read_idx: ", path, " is truncated: it holds ",
                  count, " bytes of data, its shape ", at::IntArrayRef(shape), " needs ", expected,
                  ".");
  uint8_t extra = 0;
  LIGHTNING_CHECK(file.read(&extra, 1) == 0, DataError,
                  format("read_idx: {} has data beyond the {} bytes its shape {} requires.", path,
                         expected, at::IntArrayRef(shape)));
  return tensor;
}

}  // namespace lightning
