/// DataShard: the part of each global batch that a rank loads. Global batch k of an epoch is
/// order[k * G, (k + 1) * G), G = batch size * ranks, and rank r gets its positions r, r + W,
/// r + 2 W, ... The order depends on seed, epoch, data set and sampler, never on the number of
/// ranks or the batch size.
#pragma once

#include <cstdint>

#include <lightning/config/fields.h>

namespace lightning {

/// What happens to the last global batch of an epoch when its n samples are fewer than G, so that
/// some ranks would have less to do than others.
enum class UnevenInputs {
  /// It is left out, on every number of ranks: up to G - 1 samples aren't seen in this epoch.
  kDrop,
  /// The first samples of the epoch (of the batch itself, for a stream) fill it up to G: they are
  /// trained on twice in this epoch and the mean of this batch is over G samples, up to G - n of
  /// them repeated. Lightning's DistributedSampler repeats them too, up to a multiple of the ranks.
  kPad,
  /// Each rank takes its part, a rank without samples a padding batch of weight zero
  /// (Batch::rank_weight): each sample once, and the mean is that of one process.
  kJoin,
  /// For evaluation, where ranks need not keep step: each sample once, no padding; a rank without
  /// samples in the last batch has one batch less.
  kExact,
};
LIGHTNING_ENUM(UnevenInputs, LIGHTNING_ENUMERATOR(kDrop, "drop"), LIGHTNING_ENUMERATOR(kPad, "pad"),
               LIGHTNING_ENUMERATOR(kJoin, "join"))

struct DataShard {
  int64_t rank = 0;
  int64_t world_size = 1;
  UnevenInputs uneven = UnevenInputs::kJoin;

  bool operator==(const DataShard&) const = default;
};

}  // namespace lightning
