# Sourced by the scripts of this folder: configuring and building.

# A file that isn't in the cache needn't be preprocessed once more to find that out, and the
# precompiled header (half a gigabyte) is hashed once, not for every file.
export CCACHE_DEPEND="${CCACHE_DEPEND:-true}" CCACHE_INODECACHE="${CCACHE_INODECACHE:-true}"
# To ccache a different locale is a different compilation, and Python sets one for its children where
# there is none: the tests that build would compile the library once more.
export LC_ALL="${LC_ALL:-C.UTF-8}"

# nproc alone would answer with OMP_NUM_THREADS, which the tests set to 1.
cores() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; }

# How many compilers run at a time: one per core, and 2 GiB of memory for each.
build_jobs() {
  local available memory_jobs
  available=$(cores)
  memory_jobs=$(awk '/^MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)
  ((memory_jobs < 1)) && memory_jobs=1
  echo "${LIGHTNING_JOBS:-$((available < memory_jobs ? available : memory_jobs))}"
}

# configure PRESET [cmake options...]: quiet unless it fails.
configure() {
  local preset=$1 log
  shift
  log=$(mktemp)
  if ! cmake --preset "$preset" "$@" > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "cmake --preset $preset failed" >&2
    return 1
  fi
  rm -f "$log"
}

# build PRESET [targets...]
build() {
  local preset=$1
  shift
  cmake --build "build/$preset" -j "$(build_jobs)" ${1:+--target "$@"}
}
