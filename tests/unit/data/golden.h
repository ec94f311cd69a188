/// Reads tests/unit/data/golden/orders.txt.
#pragma once

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace lightning_tests {

template <typename T = int64_t>
std::vector<T> golden(const std::string& name) {
  std::ifstream file("tests/unit/data/golden/orders.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name + ": ", 0) != 0) continue;
    std::istringstream words(line.substr(name.size() + 2));
    std::vector<T> values;
    for (T value; words >> value;) values.push_back(value);
    return values;
  }
  FAIL("no line \"" << name << "\" in tests/unit/data/golden/orders.txt");
  return {};
}

}  // namespace lightning_tests
