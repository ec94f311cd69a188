#!/usr/bin/env bash
# Sets the machine up, builds everything and runs all tests.
#
# Usage: scripts/test.sh [cmake options...]      for example: scripts/test.sh -DLIGHTNING_WERROR=OFF
# The last line of the output is `N passed, N failed, N skipped`; the exit status is 0 when at least
# one test passed and none failed. Environment: LIGHTNING_PRESET (release), LIGHTNING_JOBS.
# Open MPI is installed with the rest, so the tests under mpirun must not be skipped. As root, where
# namespaces can be made, it also installs SLURM's packages, and then the tests that run on a SLURM
# of their own must not be skipped either.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_lib.sh

preset="${LIGHTNING_PRESET:-release}"
build_dir="build/$preset"
results="$build_dir/test_results.xml"

scripts/bootstrap.sh --test
export LIGHTNING_REQUIRE_MPIRUN="${LIGHTNING_REQUIRE_MPIRUN:-1}"
if ((EUID == 0)) && unshare --mount --uts --pid --fork --mount-proc true 2> /dev/null; then
  scripts/slurm_cluster.sh install
  export LIGHTNING_REQUIRE_SLURM="${LIGHTNING_REQUIRE_SLURM:-1}"
fi
configure "$preset" "$@"
build "$preset"

rm -f "$results"
status=0
# One more than there are cores: tests of several ranks mostly wait.
ctest --test-dir "$build_dir" --output-on-failure --no-tests=error -j "$(($(nproc) + 1))" \
  --output-junit "$PWD/$results" || status=$?
.venv/bin/python scripts/summarize_tests.py "$results" || status=1
exit "$status"
