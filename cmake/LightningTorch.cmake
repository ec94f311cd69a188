# Finds LibTorch and makes the imported target `lightning_torch`: LibTorch without its CUDA libraries.
# Used by this build and, installed beside lightningConfig.cmake, by programs that link the library.
#
# LibTorch's own target `torch` links libtorch_cuda into every program, needed or not, and a process
# then loads it with all that it depends on: half a second and 350 MB. Here only the plug-in
# lightning_cuda (lightning/cuda) links it.
#
# LibTorch's package insists on a CUDA toolkit when LibTorch itself was built with CUDA, and then
# turns on the CUDA language. Neither is needed to compile and link C++ against it: the CUDA
# libraries are loaded by libtorch_cuda.so from its own folders. So the targets that its package
# would make from a toolkit are made here first, and it takes them as they are. With a toolkit
# they carry its headers and libraries (LIGHTNING_HAS_CUDA_TOOLKIT is then true).

include_guard(GLOBAL)

# A project that adds this one as a subfolder must see LibTorch's targets too.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL TRUE)

find_package(Threads REQUIRED)
find_package(CUDAToolkit QUIET)
if(CUDAToolkit_FOUND AND TARGET CUDA::cudart)
  set(LIGHTNING_HAS_CUDA_TOOLKIT TRUE)
else()
  set(LIGHTNING_HAS_CUDA_TOOLKIT FALSE)
endif()

if(NOT TARGET torch)
  if(NOT TARGET torch::cudart)
    foreach(target
            torch::cudart torch::nvtoolsext torch::nvtx3 torch::cudnn torch::cusparselt
            torch::cudss torch::cufile caffe2::cuda caffe2::cublas caffe2::curand caffe2::cufft
            caffe2::nvrtc)
      if(NOT TARGET ${target})
        add_library(${target} INTERFACE IMPORTED GLOBAL)
      endif()
    endforeach()
    if(LIGHTNING_HAS_CUDA_TOOLKIT)
      target_link_libraries(torch::cudart INTERFACE CUDA::cudart)
    endif()
  endif()

  # Torch_DIR, CMAKE_PREFIX_PATH and the environment come first; the wheel that
  # scripts/bootstrap.sh puts into .venv is the last place looked at.
  file(GLOB lightning_wheel ${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch)
  # Its warnings are about static libraries that a shared LibTorch doesn't have.
  set(lightning_log_level ${CMAKE_MESSAGE_LOG_LEVEL})
  set(CMAKE_MESSAGE_LOG_LEVEL ERROR)
  find_package(Torch 2.11 CONFIG QUIET PATHS ${LIGHTNING_TORCH_HINT} ${lightning_wheel})
  set(CMAKE_MESSAGE_LOG_LEVEL ${lightning_log_level})
  if(NOT Torch_FOUND)
    message(FATAL_ERROR
      "lightning: LibTorch 2.11 or newer not found. HINT: run scripts/bootstrap.sh, or pass "
      "-DTorch_DIR=<libtorch>/share/cmake/Torch or -DCMAKE_PREFIX_PATH=<libtorch>.")
  endif()
  if(TARGET caffe2::mkl)
    # Relative to the machine that LibTorch was built on.
    set_target_properties(caffe2::mkl PROPERTIES INTERFACE_LINK_DIRECTORIES "")
  endif()
  message(STATUS "LibTorch ${Torch_VERSION} in ${TORCH_INSTALL_PREFIX}, CUDA toolkit: "
                 "${LIGHTNING_HAS_CUDA_TOOLKIT}")
endif()

if(NOT TARGET lightning_torch)
  add_library(lightning_torch INTERFACE IMPORTED GLOBAL)
  # The macros of `torch`, those of its CUDA half included: LibTorch was compiled with them, and
  # objects that share a precompiled header must agree in them.
  get_target_property(lightning_torch_include torch INTERFACE_INCLUDE_DIRECTORIES)
  set_target_properties(lightning_torch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${lightning_torch_include}"
    INTERFACE_COMPILE_DEFINITIONS "$<TARGET_PROPERTY:torch,INTERFACE_COMPILE_DEFINITIONS>"
    INTERFACE_COMPILE_OPTIONS "$<TARGET_PROPERTY:torch,INTERFACE_COMPILE_OPTIONS>"
    INTERFACE_LINK_LIBRARIES "torch_cpu_library;c10")
endif()

unset(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL)
