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
    # In instrumented code GCC takes variables for uninitialised that aren't.
    target_compile_options(${target} PRIVATE
      -fsanitize=${LIGHTNING_SANITIZE} -Wno-maybe-uninitialized)
    target_link_options(${target} PRIVATE -fsanitize=${LIGHTNING_SANITIZE})
  endif()
  if(LIGHTNING_CCACHE_PROGRAM)
    # Without these two, ccache stores nothing that uses a precompiled header.
    set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;${LIGHTNING_CCACHE_PROGRAM}")
  endif()
endfunction()

# lightning_precompiled_header(NAME headers...): a precompiled header that targets share. Compiling one
# takes half a minute and 700 MB.
function(lightning_precompiled_header name)
  add_library(${name} OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
  # Not lightning_third_party: a macro defined here would have to be defined for every target.
  target_link_libraries(${name} PRIVATE lightning_torch)
  lightning_common_options(${name})
  target_precompile_headers(${name} PRIVATE
    <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <deque> <filesystem> <fstream>
    <functional> <map> <memory> <mutex> <optional> <set> <sstream> <string> <string_view>
    <thread> <unordered_map> <utility> <variant> <vector>
    ${ARGN})
endfunction()

# At the end of each file that takes a precompiled header the compiler goes through the templates
# that it has seen: 3 s for the library's, which has no layers, 6 s for torch/torch.h.
if(NOT LIGHTNING_TWIN_BUILD)
  lightning_precompiled_header(lightning_pch
    <torch/types.h> <torch/nn/module.h> <torch/optim/adamw.h> <torch/optim/sgd.h>)
  lightning_precompiled_header(lightning_program_pch <torch/torch.h>)
  set_target_properties(lightning_pch lightning_program_pch PROPERTIES EXCLUDE_FROM_ALL ON)
endif()

# lightning_target(TARGET [PCH name]): common flags and a shared precompiled header,
# lightning_program_pch if not named. To be called for every library and program that is built here,
# after its sources are known.
function(lightning_target target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PCH" "")
  if(NOT arg_PCH)
    set(arg_PCH lightning_program_pch)
  endif()
  lightning_common_options(${target})
  if(NOT LIGHTNING_TWIN_BUILD)
    target_precompile_headers(${target} REUSE_FROM ${arg_PCH})
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    get_source_file_property(is_light ${source} TARGET_DIRECTORY ${target}
                             SKIP_PRECOMPILE_HEADERS)
    if(NOT is_light)
      set_property(SOURCE ${source} TARGET_DIRECTORY ${target} PROPERTY COMPILE_OPTIONS
        -include ${LIGHTNING_TWIN_BUILD}/CMakeFiles/${arg_PCH}.dir/cmake_pch.hxx)
    endif()
  endforeach()
endfunction()

# lightning_light_sources(TARGET sources...): sources of a target that include no torch header
# heavier than ATen/core/Tensor.h: without a precompiled header they are compiled in a second or two.
# To be called before lightning_target().
function(lightning_light_sources target)
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target}
    PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# lightning_program(NAME sources... [LINK libraries...] [PCH name | LIGHT]): a program in bin/. LIGHT:
# all of its sources are light ones.
function(lightning_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "LIGHT" "PCH" "LINK")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE lightning::lightning ${arg_LINK})
  if(arg_LIGHT)
    lightning_light_sources(${name} ${arg_UNPARSED_ARGUMENTS})
  endif()
  lightning_target(${name} PCH ${arg_PCH})
endfunction()
