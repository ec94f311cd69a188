#include <lightning/optim/detail/grad_kernels.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace lightning::optim::kernels {
namespace {

// Results are summed per chunk, chunks in order: the same whatever the number of threads.
constexpr int64_t kChunk = 1 << 15;
// Below this, starting other threads costs more than the work.
constexpr int64_t kMinParallel = 1 << 18;
constexpr size_t kLanes = 16;

/// Something other than 0 when a value isn't finite: x - x is +0 for finite x, else nan.
template <typename T>
uint64_t non_finite_bits(const T* x, int64_t n) {
  using Bits = std::conditional_t<std::is_same_v<T, double>, uint64_t, uint32_t>;
  std::array<Bits, kLanes> lanes{};
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const T value = x[i + static_cast<int64_t>(lane)];
      lanes[lane] |= std::bit_cast<Bits>(value - value);
    }
  }
  Bits bits = 0;
  for (; i < n; ++i) bits |= std::bit_cast<Bits>(x[i] - x[i]);
  for (const Bits lane : lanes) bits |= lane;
  return bits;
}

/// 1 when a value has all bits of the exponent set.
uint64_t has_full_exponent(const void* data, int64_t n, uint16_t exponent) {
  const auto* x = static_cast<const char*>(data);
  uint16_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, x + 2 * i, 2);
    found |= static_cast<uint16_t>((bits & exponent) == exponent ? 1 : 0);
  }
  return found;
}

template <>
uint64_t non_finite_bits(const c10::BFloat16* x, int64_t n) {
  return has_full_exponent(x, n, 0x7f80);
}

template <>
uint64_t non_finite_bits(const c10::Half* x, int64_t n) {
  return has_full_exponent(x, n, 0x7c00);
}

template <typename T>
double sum_of_squares(const T* x, int64_t n) {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
  std::array<Wide, kLanes> lanes{};
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<Wide>(x[i + static_cast<int64_t>(lane)]);
      lanes[lane] += value * value;
    }
  }
  double sum = 0.0;
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (const Wide lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

template <typename T>
void multiply_values(T* x, int64_t n, double factor) {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto scale = static_cast<Wide>(factor);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(static_cast<Wide>(x[i]) * scale);
}

template <typename T>
void divide_values(T* x, int64_t n, double divisor) {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto scale = static_cast<Wide>(divisor);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(static_cast<Wide>(x[i]) / scale);
}

struct Chunk {
  void* data;
  int64_t size;
  at::ScalarType dtype;
};

/// Calls f with a typed pointer to the chunk's values.
template <typename F>
auto with_type(const Chunk& chunk, F&& f) {
  switch (chunk.dtype) {
    case at::kDouble:
      return f(static_cast<double*>(chunk.data), chunk.size);
    case at::kBFloat16:
      return f(static_cast<c10::BFloat16*>(chunk.data), chunk.size);
    case at::kHalf:
      return f(static_cast<c10::Half*>(chunk.data), chunk.size);
    default:
      return f(static_cast<float*>(chunk.data), chunk.size);
  }
}

template <typename F>
void for_each_chunk(std::span<const at::Tensor> tensors, F&& f) {
  for (const at::Tensor& tensor : tensors) {
    auto* data = static_cast<char*>(tensor.data_ptr());
    const int64_t item_size = static_cast<int64_t>(tensor.itemsize());
    const int64_t numel = tensor.numel();
    for (int64_t begin = 0; begin < numel; begin += kChunk) {
      f(Chunk{data + begin * item_size, std::min(kChunk, numel - begin), tensor.scalar_type()});
    }
  }
}

int64_t total_numel(std::span<const at::Tensor> tensors) {
  int64_t total = 0;
  for (const at::Tensor& tensor : tensors) total += tensor.numel();
  return total;
}

/// Runs f(index, chunk) on all chunks, on several threads when that pays.
template <typename F>
void run_chunks(std::span<const at::Tensor> tensors, F&& f) {
  if (total_numel(tensors) < kMinParallel || at::get_num_threads() == 1) {
    size_t index = 0;
    for_each_chunk(tensors, [&](const Chunk& chunk) { f(index++, chunk); });
    return;
  }
  std::vector<Chunk> chunks;
  for_each_chunk(tensors, [&](const Chunk& chunk) { chunks.push_back(chunk); });
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(static_cast<size_t>(i), chunks[static_cast<size_t>(i)]);
  });
}

template <typename F>
void run_in_place(std::span<const at::Tensor> tensors, F&& f) {
  run_chunks(tensors, [&](size_t, const Chunk& chunk) { with_type(chunk, f); });
  // The values changed behind autograd's back.
  for (const at::Tensor& tensor : tensors) tensor.unsafeGetTensorImpl()->bump_version();
}

}  // namespace

bool can_run(std::span<const at::Tensor> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& tensor) {
    const at::ScalarType dtype = tensor.scalar_type();
    return tensor.is_cpu() && tensor.layout() == at::kStrided &&
           (dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 ||
            dtype == at::kHalf) &&
           (tensor.is_contiguous() || tensor.is_non_overlapping_and_dense());
  });
}

bool all_finite(std::span<const at::Tensor> tensors) {
  std::atomic<bool> found = false;
  const auto bits = [](const auto* x, int64_t n) { return non_finite_bits(x, n); };
  run_chunks(tensors, [&](size_t, const Chunk& chunk) {
    if (with_type(chunk, bits) != 0) found.store(true, std::memory_order_relaxed);
  });
  return !found.load();
}

double sum_of_squares(std::span<const at::Tensor> tensors) {
  const auto sum = [](auto* x, int64_t n) { return sum_of_squares(x, n); };
  if (total_numel(tensors) < kMinParallel) {
    double total = 0.0;
    for_each_chunk(tensors, [&](const Chunk& chunk) { total += with_type(chunk, sum); });
    return total;
  }
  size_t num_chunks = 0;
  for (const at::Tensor& tensor : tensors) {
    num_chunks += static_cast<size_t>((tensor.numel() + kChunk - 1) / kChunk);
  }
  std::vector<double> partial(num_chunks);
  run_chunks(tensors,
             [&](size_t index, const Chunk& chunk) { partial[index] = with_type(chunk, sum); });
  double total = 0.0;
  for (const double part : partial) total += part;
  return total;
}

void multiply_(std::span<const at::Tensor> tensors, double factor) {
  run_in_place(tensors, [&](auto* x, int64_t n) { multiply_values(x, n, factor); });
}

void divide_(std::span<const at::Tensor> tensors, double divisor) {
  run_in_place(tensors, [&](auto* x, int64_t n) { divide_values(x, n, divisor); });
}

}  // namespace lightning::optim::kernels
