// Without NDEBUG at::RecordFunction has a member more than in LibTorch, which is built with it.
#ifndef NDEBUG
#define NDEBUG
#endif

#include <lightning/data/detail/default_generator_guard.h>

#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

namespace lightning::detail {
namespace {

thread_local std::optional<std::string> offender;

bool is_default(const c10::IValue& value) {
  if (value.isNone()) return true;
  return value.isGenerator() && value.toGenerator() == at::detail::getDefaultCPUGenerator();
}

// Exceptions thrown here would be swallowed by the caller, so that the finding is only noted. Every
// random operator ends in one that has a generator argument, where none means the default one.
std::unique_ptr<at::ObserverContext> on_operator(const at::RecordFunction& call) {
  if (offender) return nullptr;
  const auto schema = call.operator_schema();
  if (!schema) return nullptr;
  const auto position = schema->argumentIndexWithName("generator");
  if (!position || static_cast<size_t>(*position) >= call.inputs().size()) return nullptr;
  if (is_default(call.inputs()[static_cast<size_t>(*position)])) offender = call.name();
  return nullptr;
}

}  // namespace

DefaultGeneratorGuard::DefaultGeneratorGuard()
    : handle_(at::addThreadLocalCallback(at::RecordFunctionCallback(&on_operator)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::FUNCTION}))) {
  offender.reset();
}

DefaultGeneratorGuard::~DefaultGeneratorGuard() { at::removeCallback(handle_); }

std::optional<std::string> DefaultGeneratorGuard::take_offender() {
  return std::exchange(offender, std::nullopt);
}

}  // namespace lightning::detail
