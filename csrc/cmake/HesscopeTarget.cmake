# hesscope_target(<name>): what every compiled target of the project shares.
#
# -ffp-contract=off: results do not change with the instruction set.
# -fno-math-errno, -fno-trapping-math: let loops with sqrt and selects vectorise; no result changes.
function(hesscope_target name)
  target_compile_features(${name} PUBLIC cxx_std_20)
  set_target_properties(
    ${name}
    PROPERTIES
      CXX_EXTENSIONS OFF
      CXX_VISIBILITY_PRESET hidden
      VISIBILITY_INLINES_HIDDEN ON
      POSITION_INDEPENDENT_CODE ON
  )
  target_compile_options(
    ${name}
    PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off;-fno-math-errno;-fno-trapping-math;-Wall;-Wextra>
  )
  if(HESSCOPE_WERROR)
    target_compile_options(
      ${name}
      PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror> $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>
    )
  endif()
  if(HESSCOPE_SANITIZE)
    target_compile_options(
      ${name}
      PRIVATE
        $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${HESSCOPE_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>
    )
    target_link_options(${name} PRIVATE -fsanitize=${HESSCOPE_SANITIZE})
  endif()
endfunction()
