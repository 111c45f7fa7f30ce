# Decides how the CUDA backend is built and sets
#   HESSCOPE_CUDA_MODE         OFF | ON | EMULATED
#   HESSCOPE_CUDA_DESCRIPTION  what `hesscope info` prints
#   HESSCOPE_CUDA_HEADERS      EMULATED only: NVIDIA's include folder
include(CheckLanguage)

function(_hesscope_try_cuda result)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(${result} "no nvcc was found" PARENT_SCOPE)
    return()
  endif()
  # A compiler that is present may still not work with this host compiler or C++20.
  file(
    WRITE "${PROJECT_BINARY_DIR}/try_cuda.cu"
    "#include <bit>\n#include <span>\n__global__ void empty_kernel() {}\nint main() { return 0; }\n"
  )
  execute_process(
    COMMAND
      "${CMAKE_CUDA_COMPILER}" -std=c++20 -c "${PROJECT_BINARY_DIR}/try_cuda.cu" -o
      "${PROJECT_BINARY_DIR}/try_cuda.o"
    RESULT_VARIABLE _failed
    OUTPUT_VARIABLE _output
    ERROR_VARIABLE _output
  )
  if(_failed)
    file(WRITE "${PROJECT_BINARY_DIR}/try_cuda.log" "${_output}")
    set(${result} "nvcc cannot compile C++20 here (see try_cuda.log)" PARENT_SCOPE)
  else()
    set(${result} "" PARENT_SCOPE)
  endif()
endfunction()

set(HESSCOPE_CUDA_MODE OFF)
set(HESSCOPE_CUDA_DESCRIPTION "off")

if(HESSCOPE_CUDA STREQUAL "ON" OR HESSCOPE_CUDA STREQUAL "AUTO")
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90)
  endif()
  _hesscope_try_cuda(_why_not)
  if(_why_not AND HESSCOPE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "HESSCOPE_CUDA=ON, but ${_why_not}")
  elseif(_why_not)
    message(STATUS "CUDA backend: off, because ${_why_not}")
  else()
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    list(JOIN CMAKE_CUDA_ARCHITECTURES ", " _architectures) # a semicolon would split a definition
    set(HESSCOPE_CUDA_MODE ON)
    set(
      HESSCOPE_CUDA_DESCRIPTION
      "${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR} for sm ${_architectures}"
    )
    message(STATUS "CUDA backend: on, ${HESSCOPE_CUDA_DESCRIPTION}")
  endif()
elseif(HESSCOPE_CUDA STREQUAL "EMULATED")
  find_package(CUDAToolkit QUIET)
  find_path(
    HESSCOPE_CUDA_HEADERS
    cuda_bf16.h
    HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{CUDA_HOME}/include /usr/local/cuda/include
  )
  if(NOT HESSCOPE_CUDA_HEADERS)
    message(
      FATAL_ERROR
      "HESSCOPE_CUDA=EMULATED needs NVIDIA's headers (cuda_bf16.h); set HESSCOPE_CUDA_HEADERS"
    )
  endif()
  set(HESSCOPE_CUDA_MODE EMULATED)
  set(HESSCOPE_CUDA_DESCRIPTION "emulated")
  message(STATUS "CUDA backend: emulated on the CPU, headers from ${HESSCOPE_CUDA_HEADERS}")
elseif(NOT HESSCOPE_CUDA STREQUAL "OFF")
  message(FATAL_ERROR "HESSCOPE_CUDA must be AUTO, ON, OFF or EMULATED, got ${HESSCOPE_CUDA}")
endif()
