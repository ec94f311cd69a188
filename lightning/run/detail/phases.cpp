#include <lightning/run/detail/phases.h>

#include <string>

#include <c10/util/Type.h>

#include <lightning/util/error.h>

namespace lightning {
namespace {

/// "ns::(anonymous namespace)::Name" -> "Name"; arguments of a template stay whole.
std::string class_name(const std::type_info& type) {
  const std::string whole = c10::demangle(type.name());
  int64_t depth = 0;
  for (size_t i = whole.size(); i > 0; --i) {
    const char letter = whole[i - 1];
    if (letter == '>') ++depth;
    if (letter == '<') --depth;
    if (letter == ':' && depth == 0) return whole.substr(i);
  }
  return whole;
}

}  // namespace

Profiled Phases::enter(const Phase& phase, const Progress& progress) {
  if (control_ != nullptr) {
    control_->set_status({.global_step = progress.global_step,
                          .phase = phase.name,
                          .long_phase = phase.may_take_long});
  }
  if (dry_run && !phase.part.empty()) dry_run->enter(phase.part, progress.global_step);
  if (profiler_ == nullptr) return Profiled(nullptr, 0);
  const auto [found, is_new] = actions_.try_emplace({phase.name, typeid(void)});
  if (is_new) found->second = profiler_->action(phase.name);
  return Profiled(profiler_, found->second);
}

Profiled Phases::enter(const Phase& phase, const Progress& progress, MetricLog& log,
                       MetricLog::Scope scope) {
  if (scope.hook.empty()) scope.hook = phase.name;
  if (scope.step < 0) scope.step = progress.global_step;
  log.enter(scope);
  return enter(phase, progress);
}

int32_t Phases::hook_action(const char* kind, const std::type_info& owner, const char* hook) {
  const auto [found, is_new] = actions_.try_emplace({hook, owner});
  if (is_new) {
    found->second = profiler_->action(detail::concat('[', kind, ']', class_name(owner), '.', hook));
  }
  return found->second;
}

}  // namespace lightning
