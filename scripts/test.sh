#!/usr/bin/env bash
# Sets the machine up, builds everything and runs all tests.
#
# Usage: scripts/test.sh [cmake options...]      for example: scripts/test.sh -DLIGHTNING_WERROR=OFF
# The last line of the output is `N passed, N failed, N skipped`; the exit status is 0 when at least
# one test passed and none failed. Environment: LIGHTNING_PRESET (release), LIGHTNING_JOBS.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_lib.sh

preset="${LIGHTNING_PRESET:-release}"
build_dir="build/$preset"
results="$build_dir/test_results.xml"

scripts/bootstrap.sh --test
configure "$preset" "$@"
build "$preset"

rm -f "$results"
status=0
ctest --test-dir "$build_dir" --output-on-failure --no-tests=error -j "$(nproc)" \
  --output-junit "$PWD/$results" || status=$?
.venv/bin/python scripts/summarize_tests.py "$results" || status=1
exit "$status"
