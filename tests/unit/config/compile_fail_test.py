"""Field lists that are wrong must not compile, and the compiler must say why."""

import subprocess

import pytest
import support

PREAMBLE = """
#include <lightning/config/options.h>
namespace user {
struct Options {
  int64_t first = 1;
  std::string second = "";
  std::optional<double> third = std::nullopt;
};
%s
}  // namespace user
int main() { return static_cast<int>(lightning::config::to_node(user::Options{}).entries().size()); }
"""

FIRST = 'LIGHTNING_FIELD(first, "a")'
SECOND = 'LIGHTNING_FIELD(second, "b")'
THIRD = 'LIGHTNING_FIELD(third, "c")'
INCOMPLETE = "list every field of the struct once, in the order of declaration"


def fields(*names, struct="Options"):
    return f"LIGHTNING_FIELDS({', '.join((struct,) + names)});"


CASES = [
    ("complete list", PREAMBLE % fields(FIRST, SECOND, THIRD), None),
    ("last field (optional) missing", PREAMBLE % fields(FIRST, SECOND), INCOMPLETE),
    ("middle field missing", PREAMBLE % fields(FIRST, THIRD), INCOMPLETE),
    ("first field missing", PREAMBLE % fields(SECOND, THIRD), INCOMPLETE),
    ("empty list", PREAMBLE % fields(), INCOMPLETE),
    ("wrong order", PREAMBLE % fields(SECOND, FIRST, THIRD), INCOMPLETE),
    ("field listed twice", PREAMBLE % fields(FIRST, FIRST, SECOND, THIRD), INCOMPLETE),
    (
        "two fields of one type, one listed twice",
        """
#include <lightning/config/fields.h>
struct Pair { int a = 0; int b = 0; };
LIGHTNING_FIELDS(Pair, LIGHTNING_FIELD(a, ""), LIGHTNING_FIELD(a, ""));
""",
        "a field is listed twice",
    ),
    (
        "struct with a constructor",
        """
#include <lightning/config/fields.h>
struct Closed { Closed() {} int a = 0; };
LIGHTNING_FIELDS(Closed, LIGHTNING_FIELD(a, ""));
""",
        "options are plain aggregates",
    ),
    (
        "field of a type without a config form",
        """
#include <lightning/config/options.h>
struct Pointer { int* a = nullptr; };
LIGHTNING_FIELDS(Pointer, LIGHTNING_FIELD(a, ""));
int main() { return lightning::config::to_node(Pointer{}).is_null(); }
""",
        "no config form for this type",
    ),
]


@pytest.mark.parametrize(("source", "message"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])
def test_field_list(source, message):
    compiler = support.cmake_cache()["CMAKE_CXX_COMPILER"]
    done = subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-I", support.ROOT, "-"],
        input=source, capture_output=True, text=True)
    assert (done.returncode == 0) == (message is None), done.stderr[:2000]
    assert message is None or message in done.stderr, done.stderr[:2000]
