#include <lightning/ops/detail/cpu_attention.h>

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <lightning/ops/detail/fast_path.h>

namespace lightning::ops::detail {

namespace {

// Letters: B sequences, T tokens, D head size; n attended keys of a sequence and q queries of a
// block, both rounded up. Blocks of scores have keys as rows and queries as columns, so that the
// softmax runs down the columns and no value has to be summed across a vector register.

/// Few different sizes of n and q keep the number of generated matrix kernels small; coarser ones
/// would cost more than they save.
constexpr int64_t kKeyRounding = 16;

/// c [m, n] (+)= a [m, k] b [k, n], all dense but for a; b in pair layout when bfloat16.
void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
              bool add, float* c) {
  at::native::cpublas::brgemm(m, n, k, a_stride, n, n, add, a, b, c, /*is_vnni=*/false);
}
void multiply(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride, const Bf16* b,
              bool add, float* c) {
  at::native::cpublas::brgemm(m, n, k, a_stride, n, n, add,
                              reinterpret_cast<const at::BFloat16*>(a),
                              reinterpret_cast<const at::BFloat16*>(b), c, /*is_vnni=*/true);
}
void release(const float*) { at::native::cpublas::brgemm_release(/*is_vnni=*/false); }
void release(const Bf16*) { at::native::cpublas::brgemm_release(/*is_vnni=*/true); }

/// Tries the smallest product: LibTorch offers no other way to ask.
template <typename T>
bool probe() {
  try {
    const std::vector<T> zeros(32 * 32);
    std::vector<float> result(32 * 32);
    multiply(32, 32, 32, zeros.data(), 32, zeros.data(), /*add=*/false, result.data());
    release(zeros.data());
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

/// Sizes and pointers of one problem.
template <typename T>
struct Layout {
  explicit Layout(const AttentionProblem& problem)
      : qkv(data<T>(problem.qkv)),
        batch(problem.qkv.size(0)),
        tokens(problem.qkv.size(1)),
        heads(problem.num_heads),
        hidden(problem.qkv.size(2) / 3),
        head_size(hidden / heads),
        key_counts(static_cast<size_t>(batch)),
        attended(static_cast<size_t>(batch * padded_tokens())) {
    const uint8_t* given = data<uint8_t>(problem.attended);
    for (int64_t b = 0; b < batch; ++b) {
      uint8_t* row = attended.data() + b * padded_tokens();
      int64_t count = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        row[t] = given[b * tokens + t];
        if (row[t] != 0) count = t + 1;
      }
      key_counts[static_cast<size_t>(b)] = count;
    }
  }

  static int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
  int64_t padded_tokens() const { return round_up(tokens, kKeyRounding); }
  int64_t row_stride() const { return 3 * hidden; }

  /// Start of a head's queries (0), keys (1) or values (2) in packed rows like qkv's.
  template <typename Pointer>
  Pointer part(Pointer rows, int64_t which, int64_t b, int64_t head) const {
    return rows + b * tokens * row_stride() + which * hidden + head * head_size;
  }
  /// Start of a head in rows like the output's.
  template <typename Pointer>
  Pointer head_of(Pointer rows, int64_t b, int64_t head) const {
    return rows + b * tokens * hidden + head * head_size;
  }

  const T* qkv;
  int64_t batch;
  int64_t tokens;
  int64_t heads;
  int64_t hidden;
  int64_t head_size;
  /// Per sequence: one more than the last key attended to.
  std::vector<int64_t> key_counts;
  /// Per sequence and key, padded with zeros.
  std::vector<uint8_t> attended;
};

/// One sequence's head as a worker sees it.
template <typename T>
struct Head {
  Head(const Layout<T>& layout, const AttentionProblem& problem, int64_t index)
      : b(index / layout.heads),
        head(index % layout.heads),
        keys(layout.key_counts[static_cast<size_t>(b)]),
        padded_keys(Layout<T>::round_up(keys, kKeyRounding)),
        queries(layout.part(layout.qkv, 0, b, head)),
        block{
            .scores = nullptr,
            .attended = layout.attended.data() + b * layout.padded_tokens(),
            .keys = padded_keys,
            .queries = 0,
            .scale = static_cast<float>(problem.scale),
            .mask = problem.mask,
            .head = static_cast<uint32_t>(index),
            .query_begin = 0,
        } {}

  /// Turns to `count` queries from `begin` on. Returns q.
  int64_t select(int64_t begin, int64_t count) {
    block.query_begin = static_cast<uint32_t>(begin);
    block.queries = Layout<T>::round_up(count, kQueryRounding);
    return block.queries;
  }

  int64_t b;
  int64_t head;
  int64_t keys;
  int64_t padded_keys;
  const T* queries;
  ScoreBlock<T> block;
};

template <typename T>
class ForwardWorker {
 public:
  ForwardWorker(const AttentionProblem& problem, const Layout<T>& layout, T* output,
                float* log_sums)
      : problem_(problem),
        layout_(layout),
        output_(output),
        log_sums_(log_sums),
        scores_(layout.padded_tokens() * kQueryBlock),
        probabilities_(layout.padded_tokens() * kQueryBlock),
        keys_(layout.padded_tokens() * layout.head_size),
        values_(layout.padded_tokens() * layout.head_size),
        queries_(kQueryBlock * layout.head_size),
        result_(layout.head_size * kQueryBlock) {}

  void run(int64_t index) {
    Head<T> head(layout_, problem_, index);
    head.block.scores = scores_.data();
    const TypedKernels<T>& kernel = typed<T>();
    const int64_t size = layout_.head_size;
    kernel.pack_rows(layout_.part(layout_.qkv, 1, head.b, head.head), layout_.row_stride(),
                     head.keys, size, head.padded_keys, keys_.data());
    kernel.pack_transposed(layout_.part(layout_.qkv, 2, head.b, head.head), layout_.row_stride(),
                           head.keys, size, head.padded_keys, values_.data());
    for (int64_t begin = 0; begin < layout_.tokens; begin += kQueryBlock) {
      run_block(head, index, begin);
    }
  }

 private:
  void run_block(Head<T>& head, int64_t index, int64_t begin) {
    const TypedKernels<T>& kernel = typed<T>();
    const int64_t size = layout_.head_size;
    const int64_t n = head.padded_keys;
    const int64_t count = std::min(kQueryBlock, layout_.tokens - begin);
    const int64_t q = head.select(begin, count);
    float log_sum[kQueryBlock];
    float inverse_sum[kQueryBlock];
    if (n > 0) {
      kernel.pack_transposed_pairs(head.queries + begin * layout_.row_stride(),
                                   layout_.row_stride(), count, size, q, queries_.data());
      multiply(n, q, size, keys_.data(), size, queries_.data(), false, scores_.data());
    }
    kernel.softmax(head.block, probabilities_.data(), log_sum, inverse_sum);
    if (n > 0) {
      multiply(size, q, n, values_.data(), n, probabilities_.data(), false, result_.data());
    }
    kernel.unpack_transposed(result_.data(), q, inverse_sum, count, size, layout_.hidden,
                             layout_.head_of(output_, head.b, head.head) + begin * layout_.hidden);
    std::copy_n(log_sum, count, log_sums_ + index * layout_.tokens + begin);
  }

  const AttentionProblem& problem_;
  const Layout<T>& layout_;
  T* output_;
  float* log_sums_;
  std::vector<float> scores_;
  std::vector<T> probabilities_;
  std::vector<T> keys_;
  std::vector<T> values_;
  std::vector<T> queries_;
  std::vector<float> result_;
};

template <typename T>
class BackwardWorker {
 public:
  BackwardWorker(const AttentionProblem& problem, const Layout<T>& layout, const T* output,
                 const float* log_sums, const T* grad_output, T* grad_qkv)
      : problem_(problem),
        layout_(layout),
        output_(output),
        log_sums_(log_sums),
        grad_output_(grad_output),
        grad_qkv_(grad_qkv),
        scores_(layout.padded_tokens() * kQueryBlock),
        grad_probabilities_(scores_.size()),
        probabilities_(scores_.size()),
        grad_scores_(scores_.size()),
        grad_scores_paired_(scores_.size()),
        keys_(layout.padded_tokens() * layout.head_size),
        keys_transposed_(keys_.size()),
        values_(keys_.size()),
        grad_keys_(keys_.size()),
        grad_values_(keys_.size()),
        queries_(kQueryBlock * layout.head_size),
        queries_transposed_(queries_.size()),
        grads_(queries_.size()),
        grads_transposed_(queries_.size()),
        grad_queries_(queries_.size()) {}

  void run(int64_t index) {
    Head<T> head(layout_, problem_, index);
    head.block.scores = scores_.data();
    const TypedKernels<T>& kernel = typed<T>();
    const int64_t size = layout_.head_size;
    const int64_t stride = layout_.row_stride();
    const T* keys = layout_.part(layout_.qkv, 1, head.b, head.head);
    const T* values = layout_.part(layout_.qkv, 2, head.b, head.head);
    kernel.pack_rows(keys, stride, head.keys, size, head.padded_keys, keys_.data());
    kernel.pack_transposed(keys, stride, head.keys, size, head.padded_keys,
                           keys_transposed_.data());
    kernel.pack_rows(values, stride, head.keys, size, head.padded_keys, values_.data());
    for (int64_t begin = 0; begin < layout_.tokens; begin += kQueryBlock) {
      run_block(head, index, begin);
    }
    store_rows(head, grad_keys_, 1);
    store_rows(head, grad_values_, 2);
  }

 private:
  void run_block(Head<T>& head, int64_t index, int64_t begin) {
    const int64_t size = layout_.head_size;
    const int64_t n = head.padded_keys;
    const int64_t count = std::min(kQueryBlock, layout_.tokens - begin);
    T* grad_queries = layout_.part(grad_qkv_, 0, head.b, head.head) + begin * layout_.row_stride();
    if (n == 0) {
      clear_rows(grad_queries, count);
      return;
    }
    const int64_t q = head.select(begin, count);
    pack_queries(head, begin, count);
    multiply(n, q, size, keys_.data(), size, queries_transposed_.data(), false, scores_.data());
    multiply(n, q, size, values_.data(), size, grads_transposed_.data(), false,
             grad_probabilities_.data());
    std::copy_n(log_sums_ + index * layout_.tokens + begin, count, log_sum_);
    std::fill(log_sum_ + count, log_sum_ + q, std::numeric_limits<float>::infinity());
    const TypedKernels<T>& kernel = typed<T>();
    kernel.softmax_backward(head.block, grad_probabilities_.data(), log_sum_, row_dot_,
                            probabilities_.data(), grad_scores_.data(), grad_scores_paired_.data());
    const bool add = begin > 0;
    multiply(n, size, q, probabilities_.data(), q, grads_.data(), add, grad_values_.data());
    multiply(n, size, q, grad_scores_.data(), q, queries_.data(), add, grad_keys_.data());
    multiply(size, q, n, keys_transposed_.data(), n, grad_scores_paired_.data(), false,
             grad_queries_.data());
    kernel.unpack_transposed(grad_queries_.data(), q, nullptr, count, size, layout_.row_stride(),
                             grad_queries);
  }

  /// The block's queries and output gradients in the layouts that the products need.
  void pack_queries(const Head<T>& head, int64_t begin, int64_t count) {
    const TypedKernels<T>& kernel = typed<T>();
    const int64_t size = layout_.head_size;
    const int64_t stride = layout_.row_stride();
    const int64_t hidden = layout_.hidden;
    const int64_t q = head.block.queries;
    const T* queries = head.queries + begin * stride;
    const T* grads = layout_.head_of(grad_output_, head.b, head.head) + begin * hidden;
    const T* output = layout_.head_of(output_, head.b, head.head) + begin * hidden;
    kernel.pack_pairs(queries, stride, count, size, q, queries_.data());
    kernel.pack_transposed_pairs(queries, stride, count, size, q, queries_transposed_.data());
    kernel.pack_pairs(grads, hidden, count, size, q, grads_.data());
    kernel.pack_transposed_pairs(grads, hidden, count, size, q, grads_transposed_.data());
    kernel.row_dots(grads, hidden, output, hidden, count, size, q, row_dot_);
  }

  void store_rows(const Head<T>& head, const std::vector<float>& grad, int64_t which) {
    T* target = layout_.part(grad_qkv_, which, head.b, head.head);
    typed<T>().unpack_rows(grad.data(), head.keys, layout_.head_size, layout_.row_stride(), target);
    clear_rows(target + head.keys * layout_.row_stride(), layout_.tokens - head.keys);
  }

  void clear_rows(T* rows, int64_t count) const {
    for (int64_t r = 0; r < count; ++r) {
      std::fill_n(rows + r * layout_.row_stride(), layout_.head_size, T{});
    }
  }

  const AttentionProblem& problem_;
  const Layout<T>& layout_;
  const T* output_;
  const float* log_sums_;
  const T* grad_output_;
  T* grad_qkv_;
  std::vector<float> scores_;
  std::vector<float> grad_probabilities_;
  std::vector<T> probabilities_;
  std::vector<T> grad_scores_;
  std::vector<T> grad_scores_paired_;
  std::vector<T> keys_;
  std::vector<T> keys_transposed_;
  std::vector<T> values_;
  std::vector<float> grad_keys_;
  std::vector<float> grad_values_;
  std::vector<T> queries_;
  std::vector<T> queries_transposed_;
  std::vector<T> grads_;
  std::vector<T> grads_transposed_;
  std::vector<float> grad_queries_;
  float log_sum_[kQueryBlock];
  float row_dot_[kQueryBlock];
};

/// Runs all heads of all sequences; each worker has dedicated buffers.
template <typename T, typename MakeWorker>
void for_each_head(const Layout<T>& layout, const MakeWorker& make_worker) {
  at::parallel_for(0, layout.batch * layout.heads, 1, [&](int64_t begin, int64_t end) {
    auto worker = make_worker();
    for (int64_t index = begin; index < end; ++index) worker.run(index);
    release(static_cast<const T*>(nullptr));
  });
}

}  // namespace

bool cpu_attention_available(at::ScalarType dtype, int64_t head_size) {
  static const bool for_float = probe<float>();
  static const bool for_bf16 = probe<Bf16>();
  if (head_size % 2 != 0) return false;
  return dtype == at::kFloat ? for_float : dtype == at::kBFloat16 && for_bf16;
}

void cpu_attention(const AttentionProblem& problem, const at::Tensor& output,
                   const at::Tensor& log_sums) {
  with_element_type(problem.qkv, [&](auto element) {
    using T = decltype(element);
    const Layout<T> layout(problem);
    for_each_head(layout, [&] {
      return ForwardWorker<T>(problem, layout, mutable_data<T>(output),
                              mutable_data<float>(log_sums));
    });
  });
}

void cpu_attention_backward(const AttentionProblem& problem, const at::Tensor& output,
                            const at::Tensor& log_sums, const at::Tensor& grad_output,
                            const at::Tensor& grad_qkv) {
  with_element_type(problem.qkv, [&](auto element) {
    using T = decltype(element);
    const Layout<T> layout(problem);
    for_each_head(layout, [&] {
      return BackwardWorker<T>(problem, layout, data<T>(output), data<float>(log_sums),
                               data<T>(grad_output), mutable_data<T>(grad_qkv));
    });
  });
}

}  // namespace lightning::ops::detail
