#include <lightning/util/random.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <ATen/Context.h>

#include <lightning/util/detail/generator_state.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15u;

std::atomic<uint64_t> seed_of_everything{0};

uint64_t rotate_left(uint64_t value, int count) {
  return (value << count) | (value >> (64 - count));
}

uint64_t seed_from_environment() {
  const char* text = std::getenv("LIGHTNING_SEED");
  if (text == nullptr) return 0;
  char* end = nullptr;
  errno = 0;
  const uint64_t seed = std::strtoull(text, &end, 10);
  const bool only_digits = *text != '\0' && std::string_view(text).find_first_not_of(
                                                "0123456789") == std::string_view::npos;
  LIGHTNING_CHECK(only_digits && errno == 0, ConfigError, "seed_everything: LIGHTNING_SEED is \"",
                  text, "\", a whole number from 0 to 2^64-1 was expected.");
  return seed;
}

}  // namespace

uint64_t mix_bits(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

uint64_t mix_seed(uint64_t seed, uint64_t a, uint64_t b) {
  uint64_t mixed = mix_bits(seed + kGoldenGamma);
  mixed = mix_bits((mixed ^ a) + kGoldenGamma);
  return mix_bits((mixed ^ b) + kGoldenGamma);
}

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) {
    seed += kGoldenGamma;
    word = mix_bits(seed);
  }
}

uint64_t Random::next() {
  const uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = rotate_left(state_[3], 45);
  return result;
}

uint64_t Random::below(uint64_t bound) {
  // Lemire 2019: the high word of a product is uniform once the few low words that would favour
  // some results are drawn again.
  auto product = static_cast<unsigned __int128>(next()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = -bound % bound;
    while (static_cast<uint64_t>(product) < threshold) {
      product = static_cast<unsigned __int128>(next()) * bound;
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

void Random::shuffle(std::vector<int64_t>& values) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
}

uint64_t seed_everything(std::optional<uint64_t> seed) {
  const uint64_t chosen = seed ? *seed : seed_from_environment();
  at::manual_seed(chosen);  // the CPU's generator and, where there is one, every GPU's
  seed_of_everything.store(chosen, std::memory_order_relaxed);
  return chosen;
}

uint64_t global_seed() { return seed_of_everything.load(std::memory_order_relaxed); }

struct IsolateRng::State {
  GeneratorState generators = GeneratorState::capture();
  uint64_t seed = global_seed();
};

IsolateRng::IsolateRng() : before_(std::make_unique<State>()) {}

IsolateRng::~IsolateRng() {
  before_->generators.restore();
  seed_of_everything.store(before_->seed, std::memory_order_relaxed);
}

}  // namespace lightning
