#include <lightning/loops/callback_states.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <typeinfo>

#include <ATen/core/Tensor.h>
#include <c10/util/Type.h>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/finetuning.h>
#include <lightning/callbacks/learning_rate_monitor.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/timer.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

constexpr std::string_view kStates = "callbacks";
constexpr std::string_view kKeys = "callback_list/keys";
constexpr std::string_view kClasses = "callback_list/classes";

std::string class_of(const Callback& callback) { return c10::demangle(typeid(callback).name()); }

/// `key` as one part of a name in a StateDict: a slash, and what isn't printable ASCII, as "%2F".
std::string as_name(std::string_view key) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string name;
  for (const char letter : key) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte > 0x20 && byte < 0x7f && letter != '/' && letter != '%') {
      name += letter;
    } else {
      name += '%';
      name += kDigits[byte >> 4];
      name += kDigits[byte & 15];
    }
  }
  return name;
}

std::string under(std::string_view folder, std::string_view name) {
  return detail::concat(folder, "/", name);
}

struct Saved {
  std::string key;
  std::string type;
  StateDict state;
  bool claimed = false;
};

/// Of a checkpoint that lists its callbacks.
std::vector<Saved> listed_states(const StateDict& state) {
  const auto& keys = state.get<std::vector<std::string>>(kKeys);
  const auto& classes = state.get<std::vector<std::string>>(kClasses);
  LIGHTNING_CHECK(keys.size() == classes.size(), CheckpointError,
                  "callback_list: the checkpoint has ", keys.size(), " keys and ", classes.size(),
                  " classes, expected as many of each. HINT: resume from a different checkpoint.");
  std::vector<Saved> saved;
  for (size_t i = 0; i < keys.size(); ++i) {
    saved.push_back({keys[i], classes[i], state.nested(under(kStates, as_name(keys[i])))});
  }
  return saved;
}

/// Of one of the first checkpoints that were written, which have the keys as they are, and of our
/// classes less in them.
std::vector<Saved> unlisted_states(const CallbackList& callbacks, const StateDict& state) {
  const StateDict states = state.nested(kStates);
  std::vector<Saved> saved;
  const auto add = [&](const std::string& key, std::string type) {
    const bool known = std::any_of(saved.begin(), saved.end(),
                                   [&](const Saved& other) { return other.key == key; });
    if (!known) saved.push_back({key, std::move(type), states.nested(key)});
  };
  const auto add_all_of = [&](std::string_view name, const std::string& type) {
    const std::string begin = detail::concat(name, "(monitor=");
    for (const auto& [entry, value] : states.entries()) {
      if (!entry.starts_with(begin)) continue;
      const std::string key = entry.substr(0, entry.rfind('/'));
      add(key, type);
      // Only the key names it.
      const size_t end = std::min(key.rfind(",every_n_train_steps="), key.size() - 1);
      saved.back().state.set("monitor", key.substr(begin.size(), end - begin.size()));
    }
  };
  add_all_of("ModelCheckpoint", c10::demangle(typeid(ModelCheckpoint).name()));
  add_all_of("EarlyStopping", c10::demangle(typeid(EarlyStopping).name()));
  for (const auto& callback : callbacks) {
    const std::string key = callback->state_key();
    if (!key.empty() && states.contains_nested(key)) add(key, class_of(*callback));
  }
  return saved;
}

/// Whether `old_key` is that of the first checkpoints for what has `key` now: keys grew at their
/// ends only.
bool grew_from(std::string_view key, std::string_view old_key) {
  return old_key.ends_with(')') &&
         key.starts_with(detail::concat(old_key.substr(0, old_key.size() - 1), ","));
}

/// Gives the callback and the state that `match` connects to each other, if they are the only ones.
template <typename Match>
void claim_unique(CallbackList& open, std::vector<Saved>& saved, bool say_so, const Match& match) {
  for (auto callback = open.begin(); callback != open.end();) {
    std::vector<Saved*> states;
    for (Saved& one : saved) {
      if (!one.claimed && match(**callback, one)) states.push_back(&one);
    }
    const bool unique =
        states.size() == 1 && std::count_if(open.begin(), open.end(), [&](const auto& other) {
                                return match(*other, *states[0]);
                              }) == 1;
    if (!unique) {
      ++callback;
      continue;
    }
    if (say_so) {
      log_info(detail::concat("Trainer: ", (*callback)->state_key(), " resumes with the state of ",
                              states[0]->key, ", the only one of its class in the checkpoint."));
    }
    states[0]->claimed = true;
    if (!states[0]->state.empty()) (*callback)->load_state_dict(states[0]->state);
    callback = open.erase(callback);
  }
}

template <typename T>
bool is_a(const Callback& callback) {
  return dynamic_cast<const T*>(&callback) != nullptr;
}

/// The options of a class of the library that its state_key() has; empty for other classes.
std::string_view options_of_key(const Callback& callback) {
  if (is_a<ModelCheckpoint>(callback)) {
    return "monitor, mode, every_n_train_steps, every_n_epochs, train_time_interval, "
           "save_weights_only, dirpath or filename";
  }
  if (is_a<EarlyStopping>(callback)) return "monitor or mode";
  if (is_a<Timer>(callback)) return "interval";
  if (is_a<LearningRateMonitor>(callback)) {
    return "logging_interval, log_momentum or log_weight_decay";
  }
  if (is_a<BackboneFinetuning>(callback)) return "backbone";
  return {};
}

std::string how_to_tell_apart(const Callback& callback) {
  const std::string_view options = options_of_key(callback);
  if (!options.empty()) {
    return detail::concat("give them a different ", options, ", or remove one of them");
  }
  // A class of the library whose key is its name.
  if (class_of(callback) == "lightning::" + callback.state_key()) {
    return "remove one of them: a run can have one";
  }
  return "remove one of them, or have the class override state_key() so that it differs between "
         "them";
}

}  // namespace

StateDict copy_of(const StateDict& state) {
  StateDict copy;
  for (const auto& [name, value] : state.entries()) {
    const auto* tensor = std::get_if<at::Tensor>(&value);
    const bool clones = tensor != nullptr && tensor->defined();
    copy.set(name, clones ? StateDict::Value(tensor->detach().clone()) : value);
  }
  return copy;
}

void check_state_keys(const CallbackList& callbacks) {
  std::map<std::string, size_t> seen;
  for (size_t i = 0; i < callbacks.size(); ++i) {
    const std::string key = callbacks[i]->state_key();
    if (key.empty()) continue;
    const auto [other, is_new] = seen.try_emplace(key, i);
    LIGHTNING_CHECK(is_new, ConfigError, "Trainer: callback ", other->second + 1, " (",
                    class_of(*callbacks[other->second]), ") and callback ", i + 1, " (",
                    class_of(*callbacks[i]), ") both have the state key \"", key,
                    "\", expected different ones: a resumed run would mix up their states. HINT: ",
                    how_to_tell_apart(*callbacks[i]), ".");
  }
}

void save_callback_states(const CallbackList& callbacks, const StateDict* frozen,
                          StateDict& state) {
  std::vector<std::string> keys;
  std::vector<std::string> classes;
  for (const auto& callback : callbacks) {
    const std::string key = callback->state_key();
    if (key.empty()) continue;
    const std::string name = under(kStates, as_name(key));
    const bool is_frozen = frozen != nullptr && !callback->writes_checkpoints();
    state.set(name, is_frozen ? frozen->nested(name) : callback->state_dict());
    keys.push_back(key);
    classes.push_back(class_of(*callback));
  }
  state.set(kKeys, std::move(keys));
  state.set(kClasses, std::move(classes));
}

void load_callback_states(const CallbackList& callbacks, const StateDict& state) {
  std::vector<Saved> saved =
      state.contains(kKeys) ? listed_states(state) : unlisted_states(callbacks, state);
  CallbackList open;
  std::copy_if(callbacks.begin(), callbacks.end(), std::back_inserter(open),
               [](const auto& callback) { return !callback->state_key().empty(); });
  claim_unique(open, saved, /*say_so=*/false, [](const Callback& callback, const Saved& one) {
    return callback.state_key() == one.key;
  });
  claim_unique(open, saved, /*say_so=*/false, [](const Callback& callback, const Saved& one) {
    return class_of(callback) == one.type && grew_from(callback.state_key(), one.key);
  });
  claim_unique(open, saved, /*say_so=*/true, [](const Callback& callback, const Saved& one) {
    return class_of(callback) == one.type;
  });
  for (const auto& callback : open) {
    std::string others;
    for (const Saved& one : saved) {
      if (one.claimed || one.type != class_of(*callback)) continue;
      others += (others.empty() ? "" : ", ") + one.key;
    }
    // Those of a class that saves nothing before it has something to save.
    if (others.empty() && callback->state_dict().empty()) continue;
    log_warning(detail::concat("Trainer: the checkpoint has no state of ", callback->state_key(),
                               others.empty() ? "" : ", but of " + others, "; it starts afresh."));
  }
}

void InitialStates::apply(const CallbackList& callbacks) {
  for (const auto& callback : callbacks) {
    if (callback->state_key().empty()) continue;
    const auto [known, is_new] = states_.try_emplace(callback);
    if (is_new) {
      known->second = copy_of(callback->state_dict());
    } else if (!known->second.empty()) {
      callback->load_state_dict(copy_of(known->second));
    }
  }
}

}  // namespace lightning
