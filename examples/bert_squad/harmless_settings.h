/// Settings of a model folder that are known to have no effect on this program's results, each with
/// the reason; docs/bert_squad.md lists them. All others are used or refused.
#pragma once

#include <span>
#include <string_view>

namespace bert_squad {

struct HarmlessSetting {
  std::string_view name;
  std::string_view reason;
};

/// Of config.json.
std::span<const HarmlessSetting> harmless_config_settings();
/// Of tokenizer_config.json.
std::span<const HarmlessSetting> harmless_tokenizer_settings();
/// Of tokenizer.json.
std::span<const HarmlessSetting> harmless_tokenizer_json_settings();

}  // namespace bert_squad
