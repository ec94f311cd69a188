/// DDPOptions: how gradients are reduced over ranks.
#pragma once

#include <lightning/config/fields.h>

namespace lightning {

/// How gradients travel: as they are, or as 16-bit numbers. (Gradients of weighted losses carry the
/// weight with them: float16 overflows at 65504, bfloat16 doesn't.)
enum class CommHook { kNone, kFp16Compress, kBf16Compress };
LIGHTNING_ENUM(CommHook, LIGHTNING_ENUMERATOR(kNone, "none"),
               LIGHTNING_ENUMERATOR(kFp16Compress, "fp16_compress"),
               LIGHTNING_ENUMERATOR(kBf16Compress, "bf16_compress"))

struct DDPOptions {
  /// Some trainable parameters don't contribute to some losses. Costs a walk through the graph in
  /// each window.
  bool find_unused_parameters = false;
  /// On each rank the same parameters contribute to the loss of every micro-batch, perhaps not all:
  /// found out once, in the first window whose last micro-batch has a loss on every rank. That
  /// window sends its gradients after backward, not while it runs. Goes before
  /// find_unused_parameters.
  bool static_graph = false;
  /// Gradients are views into the buckets that are sent: saves their size in memory.
  bool gradient_as_bucket_view = false;
  /// Gradients are sent in buckets of this size in MiB (the first one of at most 1).
  double bucket_cap_mb = 25.0;
  CommHook comm_hook = CommHook::kNone;
  /// Buffers are made those of rank 0 at the beginning of each window.
  bool broadcast_buffers = true;
};
LIGHTNING_FIELDS(DDPOptions,
                 LIGHTNING_FIELD(find_unused_parameters,
                                 "allow parameters that receive no gradient"),
                 LIGHTNING_FIELD(static_graph,
                                 "the set of parameters used by the loss never changes"),
                 LIGHTNING_FIELD(gradient_as_bucket_view, "gradients are views of what is sent"),
                 LIGHTNING_FIELD(bucket_cap_mb, "MiB of gradients that are sent at once"),
                 LIGHTNING_FIELD(comm_hook,
                                 "send gradients as none (as they are), fp16_compress or "
                                 "bf16_compress"),
                 LIGHTNING_FIELD(broadcast_buffers, "buffers follow rank 0 in each window"))

}  // namespace lightning
