#pragma once

#include <string>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

/// The text of the ConfigError that `body` throws; fails the test when it throws none.
template <typename Body>
std::string config_error(Body body) {
  try {
    body();
  } catch (const lightning::ConfigError& error) {
    return error.what();
  }
  FAIL("no ConfigError was thrown");
  return {};
}
