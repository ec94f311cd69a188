# Libraries that stay inside: no public header may include one of them.
#
# LibTorch's wheel ships its own fmt below its include folder and would shadow the one that
# spdlog was built with. `lightning_third_party` puts a folder holding nothing but a link to the
# right fmt in front. It is never installed or exported.

include_guard(GLOBAL)

find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(ZLIB REQUIRED)

get_target_property(lightning_fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(LIGHTNING_TWIN_BUILD)
  set(lightning_fmt_folder ${LIGHTNING_TWIN_BUILD}/third_party/fmt)
else()
  set(lightning_fmt_folder ${PROJECT_BINARY_DIR}/third_party/fmt)
  file(MAKE_DIRECTORY ${lightning_fmt_folder})
  file(CREATE_LINK ${lightning_fmt_include}/fmt ${lightning_fmt_folder}/fmt SYMBOLIC)
endif()

add_library(lightning_third_party INTERFACE)
target_include_directories(lightning_third_party BEFORE INTERFACE ${lightning_fmt_folder})
target_link_libraries(lightning_third_party INTERFACE
  fmt::fmt spdlog::spdlog yaml-cpp nlohmann_json::nlohmann_json ZLIB::ZLIB)
