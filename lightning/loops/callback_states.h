/// The states of callbacks in a checkpoint, and which callback gets which.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/util/state_dict.h>

namespace lightning {

using CallbackList = std::vector<std::shared_ptr<Callback>>;

/// Throws ConfigError when two of them have the same state_key().
void check_state_keys(const CallbackList& callbacks);

/// Puts the state of each callback that has a key under callbacks/ of `state`, and the list of keys
/// and classes under callback_list/. Those that don't write checkpoints take theirs from `frozen`,
/// when given.
void save_callback_states(const CallbackList& callbacks, const StateDict* frozen, StateDict& state);

/// Gives the states in a checkpoint's `state` back. A callback whose key isn't there takes the
/// only state of its class that no other one has, if it is the only one of its class without;
/// else it starts afresh, with a warning.
void load_callback_states(const CallbackList& callbacks, const StateDict& state);

/// The states that callbacks had before their first fit.
class InitialStates {
 public:
  /// Notes the states of callbacks that it sees for the first time, and gives the others theirs
  /// back.
  void apply(const CallbackList& callbacks);

 private:
  std::map<std::shared_ptr<Callback>, StateDict> states_;
};

/// `state` with tensors of its own.
StateDict copy_of(const StateDict& state);

}  // namespace lightning
