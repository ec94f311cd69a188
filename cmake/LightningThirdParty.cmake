# Libraries that stay inside: no public header may include one of them. `lightning_third_party` is
# never installed or exported.

include_guard(GLOBAL)

include(${CMAKE_CURRENT_LIST_DIR}/LightningSpdlog.cmake)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(ZLIB REQUIRED)

add_library(lightning_third_party INTERFACE)
target_link_libraries(lightning_third_party INTERFACE
  lightning_spdlog yaml-cpp nlohmann_json::nlohmann_json ZLIB::ZLIB)
