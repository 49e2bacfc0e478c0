// How the process's allocator treats large blocks.
#include "common.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

// Freed blocks stay with the process instead of going back to the system, which would hand them out again page by page, zeroed.
// 1 where the allocator took the settings.
SW_EXPORT int sw_keep_large_blocks() {
#if defined(__GLIBC__)
  // A threshold for mapped blocks could not be set above 32 MB, so there are none at all; 1 GB of free memory may lie at the end.
  return mallopt(M_MMAP_MAX, 0) == 1 && mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1 && mallopt(M_TOP_PAD, 64 << 20) == 1;
#else
  return 0;
#endif
}
