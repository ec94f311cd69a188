# What all targets of this project have in common.

include_guard(GLOBAL)

if(LIGHTNING_CCACHE)
  find_program(LIGHTNING_CCACHE_PROGRAM ccache)
  mark_as_advanced(LIGHTNING_CCACHE_PROGRAM)
endif()

# Flags for a target of this project. A precompiled header is only taken by a compiler run with
# the same code generation flags, so that everything, programs too, is compiled alike.
function(lightning_common_options target)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    # -fPIC is given below for all kinds of targets; CMake would use -fPIE for programs.
    POSITION_INDEPENDENT_CODE OFF
    DEFINE_SYMBOL ""
    PCH_WARN_INVALID OFF)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE
    -fPIC -fpch-preprocess -Winvalid-pch -fopenmp
    -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    -Werror=missing-field-initializers
    $<$<BOOL:${LIGHTNING_WERROR}>:-Werror>)
  if(LIGHTNING_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LIGHTNING_SANITIZE})
    target_link_options(${target} PRIVATE -fsanitize=${LIGHTNING_SANITIZE})
  endif()
  if(LIGHTNING_CCACHE_PROGRAM)
    # Without these two, ccache stores nothing that uses a precompiled header.
    set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;${LIGHTNING_CCACHE_PROGRAM}")
  endif()
endfunction()

# The one precompiled header. Its compilation takes half a minute and 700 MB: all targets share it.
if(NOT LIGHTNING_TWIN_BUILD)
  add_library(lightning_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
  # Not lightning_third_party: a macro defined here would have to be defined for every target.
  target_link_libraries(lightning_pch PRIVATE lightning_torch)
  lightning_common_options(lightning_pch)
  target_precompile_headers(lightning_pch PRIVATE
    <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <deque> <filesystem> <fstream>
    <functional> <map> <memory> <mutex> <optional> <set> <sstream> <string> <string_view>
    <thread> <unordered_map> <utility> <variant> <vector>
    <torch/torch.h>)
endif()

# Common flags and the shared precompiled header. To be called for every library and program that
# is built here, after its sources are known.
function(lightning_target target)
  lightning_common_options(${target})
  if(NOT LIGHTNING_TWIN_BUILD)
    target_precompile_headers(${target} REUSE_FROM lightning_pch)
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    get_source_file_property(is_light ${source} TARGET_DIRECTORY ${target}
                             SKIP_PRECOMPILE_HEADERS)
    if(NOT is_light)
      set_property(SOURCE ${source} TARGET_DIRECTORY ${target} PROPERTY COMPILE_OPTIONS
        -include ${LIGHTNING_TWIN_BUILD}/CMakeFiles/lightning_pch.dir/cmake_pch.hxx)
    endif()
  endforeach()
endfunction()

# lightning_light_sources(TARGET sources...): sources of a target that include no torch header
# heavier than ATen/core/Tensor.h. At the end of each file that takes the precompiled header the
# compiler spends four seconds on torch's templates; without it these files are done in one.
# To be called before lightning_target().
function(lightning_light_sources target)
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target}
    PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# lightning_program(NAME sources... [LINK libraries...]): a program in bin/.
function(lightning_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LINK")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE lightning::lightning ${arg_LINK})
  lightning_target(${name})
endfunction()
