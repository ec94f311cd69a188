# For projects that use the library; installed with it.

include_guard(GLOBAL)

# lightning_precompile_headers(TARGET [TARGETS...]): <lightning/lightning.h>, and with it
# <torch/torch.h>, is compiled once for all sources of these targets. The first target compiles it;
# the others share it and must be compiled with the same flags, else the compiler warns
# (-Winvalid-pch) and reads the headers. To be called when the targets link lightning::lightning.
# With ccache set CCACHE_SLOPPINESS=pch_defines,time_macros.
function(lightning_precompile_headers first)
  target_precompile_headers(${first} PRIVATE <lightning/lightning.h>)
  foreach(target ${ARGN})
    target_precompile_headers(${target} REUSE_FROM ${first})
  endforeach()
  # ccache needs it.
  foreach(target ${first} ${ARGN})
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endforeach()
endfunction()
