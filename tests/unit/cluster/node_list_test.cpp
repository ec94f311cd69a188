#include <lightning/cluster/detail/node_list.h>

#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

using lightning::ConfigError;
using lightning::expand_node_list;
using lightning::parse_tasks_per_node;

namespace {

using Names = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

}  // namespace

TEST_CASE("expand_node_list gives the hosts that scontrol gives") {
  const std::vector<std::pair<std::string, Names>> table{
      {"login", {"login"}},
      {"host1,host0,host3", {"host1", "host0", "host3"}},
      {"node[7]", {"node7"}},
      {"node[1-3,5],login", {"node1", "node2", "node3", "node5", "login"}},
      {"gpu-[09-11]", {"gpu-09", "gpu-10", "gpu-11"}},
      {"gpu-[01-02]-x[1-2]", {"gpu-01-x1", "gpu-01-x2", "gpu-02-x1", "gpu-02-x2"}},
      {"n[001-002]-ib", {"n001-ib", "n002-ib"}},
      {"rack[1-2]n[01,03]", {"rack1n01", "rack1n03", "rack2n01", "rack2n03"}},
      {"host[1],other[2-3]", {"host1", "other2", "other3"}},
      {"n[9-10]", {"n9", "n10"}},
      {"n[099-100]", {"n099", "n100"}},
      {"[1-2]", {"1", "2"}},
      {"n1.cluster.example,n[2-3].cluster.example",
       {"n1.cluster.example", "n2.cluster.example", "n3.cluster.example"}},
      {"a[5,3,3]", {"a5", "a3", "a3"}},
  };
  for (const auto& [text, hosts] : table) {
    INFO(text);
    CHECK(expand_node_list(text) == hosts);
  }
  CHECK(expand_node_list("n[0-65535]").size() == 65536);
}

TEST_CASE("expand_node_list names what it can't read") {
  const std::vector<std::pair<std::string, std::string>> table{
      {"", "empty host name"},
      {"a,,b", "empty host name"},
      {"a,", "empty host name"},
      {"a[1", "isn't closed"},
      {"a1]", "isn't open"},
      {"a[1-[2]]", "inside a bracket"},
      {"a[]", "not a number range"},
      {"a[x]", "'x' in a bracket"},
      {"a[1-]", "'1-' in a bracket"},
      {"a[1,]", "not a number range"},
      {"a[1-2-3]", "'1-2-3' in a bracket"},
      {"a[3-1]", "falling range '3-1'"},
      {"a[0-9999999]", "a million hosts"},
      {"a[0-9999]b[0-9999]", "a million hosts"},
      {"a[99999999999999999999]", "not a number range"},
      {"a b", "blank"},
  };
  for (const auto& [text, fact] : table) {
    INFO(text);
    CHECK_THROWS_WITH(expand_node_list(text), Catch::Contains("'" + text + "'") &&
                                                  Catch::Contains(fact) &&
                                                  Catch::Contains("HINT: "));
  }
}

TEST_CASE("parse_tasks_per_node repeats and lists") {
  CHECK(parse_tasks_per_node("4") == Numbers{4});
  CHECK(parse_tasks_per_node("2(x2)") == Numbers{2, 2});
  CHECK(parse_tasks_per_node("3,1") == Numbers{3, 1});
  CHECK(parse_tasks_per_node("2(x3),1,4(x2)") == Numbers{2, 2, 2, 1, 4, 4});
  for (const char* text : {"", "2,", "x", "2(x)", "2(x2", "2x2", "2(x0)", "-1", "(x2)", "2(x2)3",
                           "1(x99999999)", "2 (x2)"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_tasks_per_node(text), ConfigError);
  }
}
