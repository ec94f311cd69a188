/// Plain loops over memory behind the operations of this folder, compiled once per instruction set
/// (kernels_*.cpp) and chosen at run time. No torch here: what a kernel needs is in its arguments.
/// Each works on a part of the rows, so that the caller decides about threads; results don't
/// depend on how the rows are divided.
#pragma once

#include <cstdint>

namespace lightning::ops::detail {

/// A bfloat16 by its bits.
struct Bf16 {
  uint16_t bits;
};

/// Random keep-or-drop decisions as a pure function of (seed, row, column): Philox4x32 with seven
/// rounds (Salmon et al. 2011), 16 bits a decision, so that p counts in steps of 2^-16.
struct DropoutMask {
  uint64_t seed = 0;
  /// An element is kept when its 16 bits are below this; 65536 keeps all.
  uint32_t keep_below = 65536;
  /// What kept elements are multiplied with: 65536 / keep_below.
  float scale = 1.0F;

  bool active() const { return keep_below < 65536; }
};

/// Elements that share one run of the generator; ranges given to dropout kernels start at a
/// multiple of it.
constexpr int64_t kDropoutBlock = 128;

/// Queries that attention kernels work on at a time, at most, and what their number is a multiple
/// of.
constexpr int64_t kQueryBlock = 64;
constexpr int64_t kQueryRounding = 16;

/// LayerNorm(residual + dropout(input + bias)) for rows of `width` elements.
template <typename T>
struct AddLayerNormArguments {
  const T* input;
  const float* bias;
  const float* residual;
  const float* weight;
  const float* shift;
  int64_t width;
  float epsilon;
  DropoutMask mask;
  float* mean;
  float* inverse_deviation;
  // Forward.
  float* output = nullptr;
  /// The output again, as T; null when that isn't wanted.
  T* copy = nullptr;
  // Backward.
  const float* grad_output = nullptr;
  const T* grad_copy = nullptr;  // null when the copy wasn't used
  T* grad_input = nullptr;
  float* grad_residual = nullptr;
};

/// Sums over rows that the backward kernels add to; each of `width` elements.
struct RowSums {
  float* bias;
  float* weight = nullptr;
  float* shift = nullptr;
};

template <typename T>
struct BiasGeluArguments {
  const T* input;
  const float* bias;
  int64_t width;
  T* output = nullptr;
  // Backward.
  const T* grad_output = nullptr;
  T* grad_input = nullptr;
};

/// One head's scores of some queries (16, 32, 48 or 64) against all keys, keys as rows:
/// scores[key * queries + query]. `keys` is a multiple of 8.
template <typename T>
struct ScoreBlock {
  float* scores;
  /// 0 for keys that aren't attended to.
  const uint8_t* attended;
  int64_t keys;
  int64_t queries;
  float scale;
  DropoutMask mask;
  /// Position of the block in the whole attention: which head of which sequence, first query.
  uint32_t head;
  uint32_t query_begin;
};

/// One set of functions for an element type.
template <typename T>
struct TypedKernels {
  void (*dropout)(const T* input, T* output, int64_t begin, int64_t end, const DropoutMask& mask);

  void (*add_layer_norm)(const AddLayerNormArguments<T>& arguments, int64_t row_begin,
                         int64_t row_end);
  /// `scratch` holds 3 * width floats.
  void (*add_layer_norm_backward)(const AddLayerNormArguments<T>& arguments, int64_t row_begin,
                                  int64_t row_end, const RowSums& sums, float* scratch);

  void (*bias_gelu)(const BiasGeluArguments<T>& arguments, int64_t row_begin, int64_t row_end);
  void (*bias_gelu_backward)(const BiasGeluArguments<T>& arguments, int64_t row_begin,
                             int64_t row_end, const RowSums& sums);

  /// Writes exp(scale * (score - max)) with dropout, in pair layout, and per query log(sum(exp))
  /// and 1 / sum(exp), by which the caller still has to multiply. A query that attends to nothing
  /// gets 0 there.
  void (*softmax)(const ScoreBlock<T>& block, T* probabilities, float* log_sum, float* inverse_sum);
  /// From scores and the gradients of the dropped probabilities: those probabilities (rows) and
  /// the gradients of the unscaled scores (rows and pair layout).
  void (*softmax_backward)(const ScoreBlock<T>& block, const float* grad_probabilities,
                           const float* log_sum, const float* row_dot, T* probabilities,
                           T* grad_scores, T* grad_scores_paired);

  /// Copies of a [rows, columns] matrix with `stride` between its rows; rows from `rows` up to
  /// `padded_rows` are zero. Pair layout is what matrix products want of their right operand:
  /// bfloat16 rows 2r and 2r + 1 interleaved element by element; float rows as they are.
  void (*pack_rows)(const T* input, int64_t stride, int64_t rows, int64_t columns,
                    int64_t padded_rows, T* output);
  void (*pack_pairs)(const T* input, int64_t stride, int64_t rows, int64_t columns,
                     int64_t padded_rows, T* output);
  /// The transpose [columns, padded_rows], plain and in pair layout (`columns` is even).
  void (*pack_transposed)(const T* input, int64_t stride, int64_t rows, int64_t columns,
                          int64_t padded_rows, T* output);
  void (*pack_transposed_pairs)(const T* input, int64_t stride, int64_t rows, int64_t columns,
                                int64_t padded_rows, T* output);
  /// Writes the transpose of input [columns, input_stride], its column q times factors[q] (1 when
  /// factors is null), to `rows` rows of the output. `columns` is even, input_stride at most
  /// kQueryBlock; there are input_stride factors.
  void (*unpack_transposed)(const float* input, int64_t input_stride, const float* factors,
                            int64_t rows, int64_t columns, int64_t stride, T* output);
  /// Converts a dense [rows, columns] matrix into strided rows.
  void (*unpack_rows)(const float* input, int64_t rows, int64_t columns, int64_t stride, T* output);
  /// result[r] = sum over c of a[r, c] * b[r, c]; zero from `rows` to `padded_rows`.
  void (*row_dots)(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t rows,
                   int64_t columns, int64_t padded_rows, float* result);
};

struct Kernels {
  const char* name;
  TypedKernels<float> of_float;
  TypedKernels<Bf16> of_bf16;
};

extern const Kernels kBaselineKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

/// The best set that this processor runs.
const Kernels& kernels();
/// Whether this processor runs the set.
bool supported(const Kernels& set);

}  // namespace lightning::ops::detail
