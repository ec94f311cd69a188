// The bodies of the kernels; see kernels.h. Included by each kernels_*.cpp in a namespace of its
// own, after the instruction set was chosen by a pragma. Everything is static and nothing of the
// standard library is instantiated here, so that no code for a wider instruction set can be taken
// by the linker for other files.

static inline float to_float(float value) { return value; }
static inline float to_float(Bf16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}

/// Bits of the nearest bfloat16, ties to even; a NaN stays one.
static inline uint32_t bf16_bits(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  return value == value ? rounded : 0x7FC0U;
}
static inline void store(float value, float* target) { *target = value; }
static inline void store(float value, Bf16* target) {
  target->bits = static_cast<uint16_t>(bf16_bits(value));
}

/// The value, or 0. By bits: a branch would keep loops from being vectorised, and a product would
/// turn infinities into nan.
static inline float value_if(bool condition, float value) {
  const uint32_t mask = condition ? 0xFFFFFFFFU : 0U;
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, value) & mask);
}

/// Relative error below 1e-7; 0 below -87. For arguments up to 88.
static inline float exp_approximately(float x) {
  const float shifter = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504F + shifter;
  const float n = shifted - shifter;
  const float r = (x - n * 0.693145752F) - n * 1.42860677e-6F;
  float p = 0.00138146128F;
  p = p * r + 0.00836871006F;
  p = p * r + 0.041668389F;
  p = p * r + 0.166665211F;
  p = p * r + 0.49999994F;
  p = p * r * r + r + 1.0F;
  const uint32_t exponent = (__builtin_bit_cast(uint32_t, shifted) + 127U) << 23;
  return value_if(!(x < -87.0F), p * __builtin_bit_cast(float, exponent));
}

/// The normal distribution function; absolute error below 1e-7.
static inline float normal_cdf(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const float t = __builtin_bit_cast(float, bits & 0x7FFFFFFFU) * 0.707106781F;
  // erfc(t) = exp(-t * q(t)), with q fitted on [0, 4.2].
  float q = -8.04382398e-06F;
  q = q * t + 0.000106026659F;
  q = q * t - 0.000587950752F;
  q = q * t + 0.0015767602F;
  q = q * t - 5.87815776e-05F;
  q = q * t - 0.0192171428F;
  q = q * t + 0.102799207F;
  q = q * t + 0.636616111F;
  q = q * t + 1.12837934F;
  const float half_erfc = value_if(!(t > 4.2F), 0.5F * exp_approximately(-t * q));
  // The distance from 1/2, with the sign of x.
  const uint32_t distance = __builtin_bit_cast(uint32_t, 0.5F - half_erfc);
  return 0.5F + __builtin_bit_cast(float, distance ^ (bits & 0x80000000U));
}

// ---- dropout

/// Who asks for random numbers: different streams never share a counter.
enum Stream : uint32_t { kFlatStream, kRowStream, kAttentionStream };

/// The 64-bit lanes of a register. LIGHTNING_LANES is set by the file that includes this one: the
/// predefined macros don't follow the pragma.
#if LIGHTNING_LANES == 8
typedef uint64_t Lanes __attribute__((vector_size(64)));
constexpr Lanes kEvenNumbers = {0, 2, 4, 6, 8, 10, 12, 14};
#elif LIGHTNING_LANES == 4
typedef uint64_t Lanes __attribute__((vector_size(32)));
constexpr Lanes kEvenNumbers = {0, 2, 4, 6};
#else
typedef uint64_t Lanes __attribute__((vector_size(16)));
constexpr Lanes kEvenNumbers = {0, 2};
#endif
constexpr uint32_t kNumLanes = sizeof(Lanes) / sizeof(uint64_t);

/// The products of the low halves. Compilers don't find the instruction by themselves.
static inline Lanes multiply_low(Lanes a, Lanes b) {
#if LIGHTNING_LANES == 8
  // Without a mask g++ 12 warns of something uninitialised in its own header.
  return (Lanes)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif LIGHTNING_LANES == 4
  return (Lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Lanes)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFFU) * (b & 0xFFFFFFFFU);
#endif
}

/// Four values of each of some counters, in the low halves; what the high halves hold counts for
/// nothing.
struct PhiloxLanes {
  Lanes x0;
  Lanes x1;
  Lanes x2;
  Lanes x3;
};

static inline void run_philox(uint64_t seed, PhiloxLanes& state) {
  uint32_t k0 = static_cast<uint32_t>(seed);
  uint32_t k1 = static_cast<uint32_t>(seed >> 32);
  const Lanes factor0 = Lanes{} + 0xD2511F53U;
  const Lanes factor1 = Lanes{} + 0xCD9E8D57U;
#pragma GCC unroll 7
  for (int round = 0; round < 7; ++round) {
    const Lanes product0 = multiply_low(state.x0, factor0);
    const Lanes product1 = multiply_low(state.x2, factor1);
    state.x0 = (product1 >> 32) ^ state.x1 ^ k0;
    state.x1 = product1;
    state.x2 = (product0 >> 32) ^ state.x3 ^ k1;
    state.x3 = product0;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
}

/// Low halves of neighbours side by side, in the order of memory on a little-endian machine.
static inline void store_words(Lanes even, Lanes odd, uint32_t* target) {
  const Lanes words = (even & 0xFFFFFFFFU) | (odd << 32);
  __builtin_memcpy(target, &words, sizeof(words));
}

/// Words of the generator for counters c0 + 0..15: word w of counter i at words[w][i].
static inline void fill_words(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                              uint32_t (*words)[16]) {
  for (uint32_t first = 0; first < 16; first += 2 * kNumLanes) {
    // A carry into the high halves is lost, as it should be.
    PhiloxLanes even = {kEvenNumbers + (c0 + first), Lanes{} + c1, Lanes{} + c2, Lanes{} + c3};
    PhiloxLanes odd = even;
    odd.x0 += 1;
    run_philox(seed, even);
    run_philox(seed, odd);
    store_words(even.x0, odd.x0, words[0] + first);
    store_words(even.x1, odd.x1, words[1] + first);
    store_words(even.x2, odd.x2, words[2] + first);
    store_words(even.x3, odd.x3, words[3] + first);
  }
}

/// The multipliers (0 or scale) of 128 elements, eight rows of 16: counters c0 + 0..15 give four
/// words each, a word gives two elements. Element i of row r is in half r / 4 of word r % 4 of
/// counter i.
static inline void fill_multipliers(const DropoutMask& mask, uint32_t c0, uint32_t c1, uint32_t c2,
                                    uint32_t c3, int64_t row_stride, float* multipliers) {
  uint32_t words[4][16];
  fill_words(mask.seed, c0, c1, c2, c3, words);
  const uint32_t keep_below = mask.keep_below;
  const float scale = mask.scale;
  for (int64_t w = 0; w < 4; ++w) {
    const uint32_t* word = words[w];
    float* low = multipliers + w * row_stride;
    float* high = multipliers + (4 + w) * row_stride;
#pragma omp simd
    for (int i = 0; i < 16; ++i) {
      low[i] = (word[i] & 0xFFFFU) < keep_below ? scale : 0.0F;
      high[i] = (word[i] >> 16) < keep_below ? scale : 0.0F;
    }
  }
}
/// The same with the rows one after the other.
static inline void fill_multipliers(const DropoutMask& mask, uint32_t c0, uint32_t c1, uint32_t c2,
                                    uint32_t c3, float* multipliers) {
  fill_multipliers(mask, c0, c1, c2, c3, 16, multipliers);
}

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename T>
static void dropout(const T* input, T* output, int64_t begin, int64_t end,
                    const DropoutMask& mask) {
  float multipliers[kDropoutBlock];
  for (int64_t i = begin; i < end; i += kDropoutBlock) {
    const uint64_t counter = static_cast<uint64_t>(i) / 8;
    fill_multipliers(mask, static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0,
                     kFlatStream, multipliers);
    const int64_t count = smaller(kDropoutBlock, end - i);
    for (int64_t k = 0; k < count; ++k) {
      const float value = to_float(input[i + k]) * multipliers[k];
      store(value_if(multipliers[k] != 0.0F, value), output + i + k);
    }
  }
}

/// The multipliers of one row.
static inline void fill_row_multipliers(const DropoutMask& mask, int64_t row, int64_t width,
                                        float* multipliers) {
  if (!mask.active()) {
    for (int64_t i = 0; i < width; ++i) multipliers[i] = 1.0F;
    return;
  }
  const uint32_t row_low = static_cast<uint32_t>(row);
  const uint32_t row_high = static_cast<uint32_t>(row >> 32);
  int64_t i = 0;
  for (; i + kDropoutBlock <= width; i += kDropoutBlock) {
    fill_multipliers(mask, static_cast<uint32_t>(i / 8), row_low, row_high, kRowStream,
                     multipliers + i);
  }
  if (i < width) {
    float rest[kDropoutBlock];
    fill_multipliers(mask, static_cast<uint32_t>(i / 8), row_low, row_high, kRowStream, rest);
    for (int64_t k = 0; i + k < width; ++k) multipliers[i + k] = rest[k];
  }
}

// ---- LayerNorm

/// residual + (input + bias) * multipliers; where these are dropped, just the residual.
template <typename T>
static inline void add_dropped(const AddLayerNormArguments<T>& a, int64_t row,
                               const float* multipliers, float* sum) {
  const T* input = a.input + row * a.width;
  const float* residual = a.residual + row * a.width;
  for (int64_t i = 0; i < a.width; ++i) {
    const float value = (to_float(input[i]) + a.bias[i]) * multipliers[i];
    sum[i] = residual[i] + value_if(multipliers[i] != 0.0F, value);
  }
}

template <typename T>
static void add_layer_norm(const AddLayerNormArguments<T>& a, int64_t row_begin, int64_t row_end) {
  const float per_element = 1.0F / static_cast<float>(a.width);
  for (int64_t row = row_begin; row < row_end; ++row) {
    float* output = a.output + row * a.width;
    // The multipliers lie where the result will be.
    fill_row_multipliers(a.mask, row, a.width, output);
    add_dropped(a, row, output, output);
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < a.width; ++i) sum += output[i];
    const float mean = sum * per_element;
    float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < a.width; ++i) {
      squares += (output[i] - mean) * (output[i] - mean);
    }
    const float inverse = 1.0F / __builtin_sqrtf(squares * per_element + a.epsilon);
    for (int64_t i = 0; i < a.width; ++i) {
      output[i] = (output[i] - mean) * inverse * a.weight[i] + a.shift[i];
    }
    if (a.copy != nullptr) {
      T* copy = a.copy + row * a.width;
      for (int64_t i = 0; i < a.width; ++i) store(output[i], copy + i);
    }
    a.mean[row] = mean;
    a.inverse_deviation[row] = inverse;
  }
}

/// The sum of the gradients of both outputs.
template <typename T>
static inline void gather_gradient(const AddLayerNormArguments<T>& a, int64_t row, float* grad) {
  const int64_t offset = row * a.width;
  if (a.grad_output == nullptr) {
    for (int64_t i = 0; i < a.width; ++i) grad[i] = to_float(a.grad_copy[offset + i]);
  } else if (a.grad_copy == nullptr) {
    for (int64_t i = 0; i < a.width; ++i) grad[i] = a.grad_output[offset + i];
  } else {
    for (int64_t i = 0; i < a.width; ++i) {
      grad[i] = a.grad_output[offset + i] + to_float(a.grad_copy[offset + i]);
    }
  }
}

template <typename T>
static void add_layer_norm_backward(const AddLayerNormArguments<T>& a, int64_t row_begin,
                                    int64_t row_end, const RowSums& sums, float* scratch) {
  const float per_element = 1.0F / static_cast<float>(a.width);
  float* __restrict normalised = scratch;
  float* __restrict grad = scratch + a.width;
  float* __restrict multipliers = scratch + 2 * a.width;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const float mean = a.mean[row];
    const float inverse = a.inverse_deviation[row];
    fill_row_multipliers(a.mask, row, a.width, multipliers);
    add_dropped(a, row, multipliers, normalised);
    gather_gradient(a, row, grad);
    float grad_sum = 0.0F;
    float grad_dot = 0.0F;
    float* __restrict weight_sum = sums.weight;
    float* __restrict shift_sum = sums.shift;
    const float* __restrict weight = a.weight;
    const int64_t width = a.width;
#pragma omp simd reduction(+ : grad_sum, grad_dot)
    for (int64_t i = 0; i < width; ++i) {
      const float x = (normalised[i] - mean) * inverse;
      weight_sum[i] += grad[i] * x;
      shift_sum[i] += grad[i];
      const float g = grad[i] * weight[i];
      normalised[i] = x;
      grad[i] = g;
      grad_sum += g;
      grad_dot += g * x;
    }
    grad_sum *= per_element;
    grad_dot *= per_element;
    float* __restrict grad_residual = a.grad_residual + row * a.width;
    T* __restrict grad_input = a.grad_input + row * a.width;
    float* __restrict bias_sum = sums.bias;
    for (int64_t i = 0; i < a.width; ++i) {
      const float g = inverse * (grad[i] - grad_sum - normalised[i] * grad_dot);
      grad_residual[i] = g;
      bias_sum[i] += g * multipliers[i];
      store(g * multipliers[i], grad_input + i);
    }
  }
}

// ---- GELU

template <typename T>
static void bias_gelu(const BiasGeluArguments<T>& a, int64_t row_begin, int64_t row_end) {
  for (int64_t row = row_begin; row < row_end; ++row) {
    const T* __restrict input = a.input + row * a.width;
    T* __restrict output = a.output + row * a.width;
    for (int64_t i = 0; i < a.width; ++i) {
      const float x = to_float(input[i]) + a.bias[i];
      store(x * normal_cdf(x), output + i);
    }
  }
}

template <typename T>
static void bias_gelu_backward(const BiasGeluArguments<T>& a, int64_t row_begin, int64_t row_end,
                               const RowSums& sums) {
  float* __restrict bias_sum = sums.bias;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const T* __restrict input = a.input + row * a.width;
    const T* __restrict grad_output = a.grad_output + row * a.width;
    T* __restrict grad_input = a.grad_input + row * a.width;
    for (int64_t i = 0; i < a.width; ++i) {
      const float x = to_float(input[i]) + a.bias[i];
      const float density = 0.398942280F * exp_approximately(-0.5F * x * x);
      const float g = to_float(grad_output[i]) * (normal_cdf(x) + x * density);
      bias_sum[i] += g;
      store(g, grad_input + i);
    }
  }
}

// ---- attention

/// Keys whose multipliers are made at a time.
constexpr int64_t kKeyGroup = 8;

/// The multipliers of kKeyGroup keys.
template <int64_t kQueries, typename T>
static inline void fill_score_multipliers(const ScoreBlock<T>& block, int64_t key,
                                          float* multipliers) {
  if (!block.mask.active()) return;
  for (int64_t q = 0; q < kQueries; q += 16) {
    fill_multipliers(block.mask, static_cast<uint32_t>(2 * key),
                     block.query_begin + static_cast<uint32_t>(q), block.head, kAttentionStream,
                     kQueries, multipliers + q);
  }
}

/// Two rows of keys into pair layout.
template <int64_t kQueries>
static inline void store_pair(const float* even, const float* odd, float* target) {
  for (int64_t q = 0; q < kQueries; ++q) {
    target[q] = even[q];
    target[kQueries + q] = odd[q];
  }
}
template <int64_t kQueries>
static inline void store_pair(const float* even, const float* odd, Bf16* target) {
  uint32_t* words = reinterpret_cast<uint32_t*>(target);
  for (int64_t q = 0; q < kQueries; ++q) {
    words[q] = bf16_bits(even[q]) | (bf16_bits(odd[q]) << 16);
  }
}

template <int64_t kQueries, typename T>
static void softmax_of(const ScoreBlock<T>& block, T* probabilities, float* log_sum,
                       float* inverse_sum) {
  float highest[kQueries];
  float sums[kQueries];
  for (int64_t q = 0; q < kQueries; ++q) {
    highest[q] = -__builtin_inff();
    sums[q] = 0.0F;
  }
  for (int64_t key = 0; key < block.keys; ++key) {
    if (block.attended[key] == 0) continue;
    const float* scores = block.scores + key * kQueries;
    for (int64_t q = 0; q < kQueries; ++q) {
      highest[q] = scores[q] > highest[q] ? scores[q] : highest[q];
    }
  }
  float multipliers[kKeyGroup * kQueries];
  for (int64_t i = 0; i < kKeyGroup * kQueries; ++i) multipliers[i] = 1.0F;
  float rows[2][kQueries];
  const float scale = block.scale;
  for (int64_t key = 0; key < block.keys; key += 2) {
    if (key % kKeyGroup == 0) fill_score_multipliers<kQueries>(block, key, multipliers);
    for (int64_t r = 0; r < 2; ++r) {
      const float* scores = block.scores + (key + r) * kQueries;
      const float* kept = multipliers + (key % kKeyGroup + r) * kQueries;
      const bool attended = block.attended[key + r] != 0;
      for (int64_t q = 0; q < kQueries; ++q) {
        const float e = value_if(attended, exp_approximately(scale * (scores[q] - highest[q])));
        sums[q] += e;
        rows[r][q] = e * kept[q];
      }
    }
    store_pair<kQueries>(rows[0], rows[1], probabilities + key * kQueries);
  }
  for (int64_t q = 0; q < kQueries; ++q) {
    const bool empty = sums[q] == 0.0F;
    inverse_sum[q] = empty ? 0.0F : 1.0F / sums[q];
    log_sum[q] = empty ? __builtin_inff() : block.scale * highest[q] + __builtin_logf(sums[q]);
  }
}

template <int64_t kQueries, typename T>
static void softmax_backward_of(const ScoreBlock<T>& block, const float* grad_probabilities,
                                const float* log_sum, const float* row_dot, T* probabilities,
                                T* grad_scores, T* grad_scores_paired) {
  float multipliers[kKeyGroup * kQueries];
  for (int64_t i = 0; i < kKeyGroup * kQueries; ++i) multipliers[i] = 1.0F;
  float rows[2][kQueries];
  const float scale = block.scale;
  for (int64_t key = 0; key < block.keys; key += 2) {
    if (key % kKeyGroup == 0) fill_score_multipliers<kQueries>(block, key, multipliers);
    for (int64_t r = 0; r < 2; ++r) {
      const int64_t offset = (key + r) * kQueries;
      const float* __restrict scores = block.scores + offset;
      const float* __restrict grads = grad_probabilities + offset;
      const float* __restrict kept = multipliers + (key % kKeyGroup + r) * kQueries;
      const bool attended = block.attended[key + r] != 0;
      for (int64_t q = 0; q < kQueries; ++q) {
        const float p = value_if(attended, exp_approximately(scale * scores[q] - log_sum[q]));
        store(p * kept[q], probabilities + offset + q);
        rows[r][q] = scale * p * (grads[q] * kept[q] - row_dot[q]);
      }
      for (int64_t q = 0; q < kQueries; ++q) store(rows[r][q], grad_scores + offset + q);
    }
    store_pair<kQueries>(rows[0], rows[1], grad_scores_paired + key * kQueries);
  }
}

template <typename T>
static void softmax(const ScoreBlock<T>& block, T* probabilities, float* log_sum,
                    float* inverse_sum) {
  switch (block.queries) {
    case 16:
      return softmax_of<16>(block, probabilities, log_sum, inverse_sum);
    case 32:
      return softmax_of<32>(block, probabilities, log_sum, inverse_sum);
    case 48:
      return softmax_of<48>(block, probabilities, log_sum, inverse_sum);
    default:
      return softmax_of<kQueryBlock>(block, probabilities, log_sum, inverse_sum);
  }
}

template <typename T>
static void softmax_backward(const ScoreBlock<T>& block, const float* grad_probabilities,
                             const float* log_sum, const float* row_dot, T* probabilities,
                             T* grad_scores, T* grad_scores_paired) {
  const auto run = [&](auto* function) {
    function(block, grad_probabilities, log_sum, row_dot, probabilities, grad_scores,
             grad_scores_paired);
  };
  switch (block.queries) {
    case 16:
      return run(softmax_backward_of<16, T>);
    case 32:
      return run(softmax_backward_of<32, T>);
    case 48:
      return run(softmax_backward_of<48, T>);
    default:
      return run(softmax_backward_of<kQueryBlock, T>);
  }
}

// ---- layouts

template <typename T>
static void pack_rows(const T* input, int64_t stride, int64_t rows, int64_t columns,
                      int64_t padded_rows, T* output) {
  for (int64_t r = 0; r < rows; ++r) {
    __builtin_memcpy(static_cast<void*>(output + r * columns), input + r * stride,
                     static_cast<uint64_t>(columns) * sizeof(T));
  }
  __builtin_memset(static_cast<void*>(output + rows * columns), 0,
                   static_cast<uint64_t>((padded_rows - rows) * columns) * sizeof(T));
}

static void pack_pairs(const float* input, int64_t stride, int64_t rows, int64_t columns,
                       int64_t padded_rows, float* output) {
  pack_rows(input, stride, rows, columns, padded_rows, output);
}
static void pack_pairs(const Bf16* input, int64_t stride, int64_t rows, int64_t columns,
                       int64_t padded_rows, Bf16* output) {
  uint32_t* words = reinterpret_cast<uint32_t*>(output);
  for (int64_t r = 0; r < padded_rows; r += 2, words += columns) {
    const Bf16* even = input + r * stride;
    const Bf16* odd = even + stride;
    if (r + 1 < rows) {
      for (int64_t c = 0; c < columns; ++c) {
        words[c] = even[c].bits | (static_cast<uint32_t>(odd[c].bits) << 16);
      }
    } else if (r < rows) {
      for (int64_t c = 0; c < columns; ++c) words[c] = even[c].bits;
    } else {
      for (int64_t c = 0; c < columns; ++c) words[c] = 0;
    }
  }
}

template <typename T>
static void pack_transposed(const T* input, int64_t stride, int64_t rows, int64_t columns,
                            int64_t padded_rows, T* output) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) output[c * padded_rows + r] = input[r * stride + c];
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = rows; r < padded_rows; ++r) output[c * padded_rows + r] = T{};
  }
}

static void pack_transposed_pairs(const float* input, int64_t stride, int64_t rows, int64_t columns,
                                  int64_t padded_rows, float* output) {
  pack_transposed(input, stride, rows, columns, padded_rows, output);
}
static void pack_transposed_pairs(const Bf16* input, int64_t stride, int64_t rows, int64_t columns,
                                  int64_t padded_rows, Bf16* output) {
  uint32_t* words = reinterpret_cast<uint32_t*>(output);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns / 2; ++c) {
      uint32_t pair;
      __builtin_memcpy(&pair, input + r * stride + 2 * c, sizeof(pair));
      words[c * padded_rows + r] = pair;
    }
  }
  for (int64_t c = 0; c < columns / 2; ++c) {
    for (int64_t r = rows; r < padded_rows; ++r) words[c * padded_rows + r] = 0;
  }
}

static void unpack_transposed(const float* input, int64_t input_stride, const float* factors,
                              int64_t rows, int64_t columns, int64_t stride, float* output) {
  for (int64_t r = 0; r < rows; ++r) {
    const float factor = factors == nullptr ? 1.0F : factors[r];
    for (int64_t c = 0; c < columns; ++c) {
      output[r * stride + c] = input[c * input_stride + r] * factor;
    }
  }
}
/// Two columns at a time: what is converted lies side by side, and half as much is scattered.
static void unpack_transposed(const float* input, int64_t input_stride, const float* factors,
                              int64_t rows, int64_t columns, int64_t stride, Bf16* output) {
  float ones[kQueryBlock];
  if (factors == nullptr) {
    for (int64_t r = 0; r < kQueryBlock; ++r) ones[r] = 1.0F;
    factors = ones;
  }
  uint32_t words[kQueryBlock];
  for (int64_t c = 0; c < columns; c += 2) {
    const float* even = input + c * input_stride;
    const float* odd = even + input_stride;
    for (int64_t r = 0; r < input_stride; ++r) {
      words[r] = bf16_bits(even[r] * factors[r]) | (bf16_bits(odd[r] * factors[r]) << 16);
    }
    for (int64_t r = 0; r < rows; ++r) {
      __builtin_memcpy(static_cast<void*>(output + r * stride + c), words + r, sizeof(uint32_t));
    }
  }
}

template <typename T>
static void unpack_rows(const float* input, int64_t rows, int64_t columns, int64_t stride,
                        T* output) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      store(input[r * columns + c], output + r * stride + c);
    }
  }
}

template <typename T>
static void row_dots(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t rows,
                     int64_t columns, int64_t padded_rows, float* result) {
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < columns; ++c) {
      sum += to_float(a[r * a_stride + c]) * to_float(b[r * b_stride + c]);
    }
    result[r] = sum;
  }
  for (int64_t r = rows; r < padded_rows; ++r) result[r] = 0.0F;
}

template <typename T>
static constexpr TypedKernels<T> typed_kernels() {
  return {
      .dropout = dropout<T>,
      .add_layer_norm = add_layer_norm<T>,
      .add_layer_norm_backward = add_layer_norm_backward<T>,
      .bias_gelu = bias_gelu<T>,
      .bias_gelu_backward = bias_gelu_backward<T>,
      .softmax = softmax<T>,
      .softmax_backward = softmax_backward<T>,
      .pack_rows = pack_rows<T>,
      .pack_pairs = pack_pairs,
      .pack_transposed = pack_transposed<T>,
      .pack_transposed_pairs = pack_transposed_pairs,
      .unpack_transposed = unpack_transposed,
      .unpack_rows = unpack_rows<T>,
      .row_dots = row_dots<T>,
  };
}
