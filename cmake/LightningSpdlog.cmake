# The target lightning::spdlog: spdlog with the fmt it was built with.
#
# LibTorch's wheel ships its own fmt below its include folder, where it shadows the one that spdlog
# needs. The target puts a folder holding nothing but a link to the right fmt in front. The library
# uses it, and programs that make sinks for lightning/util/spdlog_sink.h do: it needs no other
# target of the library, and is made in the build folder of the project that includes this file.

include_guard(GLOBAL)

find_package(fmt REQUIRED GLOBAL)
# A sink of another version has another layout. Set by the installed package.
if(LIGHTNING_SPDLOG_VERSION)
  find_package(spdlog ${LIGHTNING_SPDLOG_VERSION} EXACT REQUIRED GLOBAL)
else()
  find_package(spdlog REQUIRED GLOBAL)
endif()

get_target_property(lightning_fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(LIGHTNING_TWIN_BUILD)
  set(lightning_fmt_folder ${LIGHTNING_TWIN_BUILD}/third_party/fmt)
else()
  set(lightning_fmt_folder ${CMAKE_BINARY_DIR}/third_party/fmt)
  file(MAKE_DIRECTORY ${lightning_fmt_folder})
  file(CREATE_LINK ${lightning_fmt_include}/fmt ${lightning_fmt_folder}/fmt SYMBOLIC)
endif()

add_library(lightning_spdlog INTERFACE)
add_library(lightning::spdlog ALIAS lightning_spdlog)
target_include_directories(lightning_spdlog BEFORE INTERFACE ${lightning_fmt_folder})
target_link_libraries(lightning_spdlog INTERFACE fmt::fmt spdlog::spdlog)
