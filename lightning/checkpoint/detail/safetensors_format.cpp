#include <lightning/checkpoint/detail/safetensors_format.h>

#include <array>

namespace lightning::detail {
namespace {

struct DtypeName {
  at::ScalarType dtype;
  std::string_view name;
};

// In the order of the format's own library, narrow elements first.
constexpr std::array kDtypes = {
    DtypeName{at::kBool, "BOOL"},
    DtypeName{at::kByte, "U8"},
    DtypeName{at::kChar, "I8"},
    DtypeName{at::kFloat8_e5m2, "F8_E5M2"},
    DtypeName{at::kFloat8_e4m3fn, "F8_E4M3"},
    DtypeName{at::kFloat8_e8m0fnu, "F8_E8M0"},
    DtypeName{at::kFloat8_e4m3fnuz, "F8_E4M3FNUZ"},
    DtypeName{at::kFloat8_e5m2fnuz, "F8_E5M2FNUZ"},
    DtypeName{at::kShort, "I16"},
    DtypeName{at::kUInt16, "U16"},
    DtypeName{at::kHalf, "F16"},
    DtypeName{at::kBFloat16, "BF16"},
    DtypeName{at::kInt, "I32"},
    DtypeName{at::kUInt32, "U32"},
    DtypeName{at::kFloat, "F32"},
    DtypeName{at::kComplexFloat, "C64"},
    DtypeName{at::kDouble, "F64"},
    DtypeName{at::kLong, "I64"},
    DtypeName{at::kUInt64, "U64"},
};

}  // namespace

std::optional<std::string_view> safetensors_dtype_name(at::ScalarType dtype) {
  const int rank = safetensors_dtype_rank(dtype);
  if (rank < 0) return std::nullopt;
  return kDtypes[static_cast<size_t>(rank)].name;
}

std::optional<at::ScalarType> safetensors_dtype(std::string_view name) {
  for (const DtypeName& known : kDtypes) {
    if (known.name == name) return known.dtype;
  }
  return std::nullopt;
}

int safetensors_dtype_rank(at::ScalarType dtype) {
  for (size_t i = 0; i < kDtypes.size(); ++i) {
    if (kDtypes[i].dtype == dtype) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace lightning::detail
