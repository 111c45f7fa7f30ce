# hesscope_link_blas(<target>): with HESSCOPE_BLAS=ON, the CPU's matrix products go to a CBLAS library
# with 32-bit integers, found by pkg-config. Its pkg-config file may define BLAS_SYMBOL_PREFIX, as that
# of the wheel scipy-openblas32 does (whose folder lib/pkgconfig belongs into PKG_CONFIG_PATH).
# Sets HESSCOPE_BLAS_DESCRIPTION.
option(HESSCOPE_BLAS "Hand the CPU's matrix products to a CBLAS library" OFF)
set(
  HESSCOPE_BLAS_PACKAGES
  "scipy-openblas;openblas;cblas;blas"
  CACHE STRING
  "Names that pkg-config is asked for, the first found is used"
)

function(hesscope_link_blas target)
  if(NOT HESSCOPE_BLAS)
    set(HESSCOPE_BLAS_DESCRIPTION "own" PARENT_SCOPE)
    return()
  endif()
  find_package(PkgConfig REQUIRED)
  pkg_search_module(HESSCOPE_CBLAS REQUIRED ${HESSCOPE_BLAS_PACKAGES})
  message(
    STATUS
    "Matrix products on the CPU: ${HESSCOPE_CBLAS_MODULE_NAME} ${HESSCOPE_CBLAS_VERSION}"
  )
  set(
    HESSCOPE_BLAS_DESCRIPTION
    "${HESSCOPE_CBLAS_MODULE_NAME} ${HESSCOPE_CBLAS_VERSION}"
    PARENT_SCOPE
  )
  # Flags, not the imported target: it would put a library that is named by its path before the objects.
  target_link_libraries(${target} PRIVATE ${HESSCOPE_CBLAS_LDFLAGS})
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${HESSCOPE_CBLAS_CFLAGS}>)
  target_compile_definitions(${target} PRIVATE HESSCOPE_BLAS)
  target_sources(${target} PRIVATE backends/cpu/blas_gemm.cpp)
endfunction()
