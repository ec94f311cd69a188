#include <lightning/core/trainer_context.h>

namespace lightning {

TrainerContext::~TrainerContext() = default;

std::string_view to_string(Stage stage) {
  switch (stage) {
    case Stage::kFit:
      return "fit";
    case Stage::kValidate:
      return "validate";
    case Stage::kTest:
      return "test";
    case Stage::kPredict:
      return "predict";
  }
  return "";
}

}  // namespace lightning
