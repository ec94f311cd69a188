#!/usr/bin/env bash
# Sets the machine up, builds what the chosen tests need and runs them.
#
# Usage: scripts/test.sh [--quick | --exhaustive] [cmake options...]
#   --quick        the unit tests and the tests of the repository's structure
#   --exhaustive   all tests, and of the long matrices (faults of ranks) every case, not a choice
#   neither        all tests
# For example: scripts/test.sh -DLIGHTNING_WERROR=OFF
#
# The last line of the output is `N passed, N failed, N skipped` and counts test cases; the exit
# status is 0 when at least one passed and none failed. The results are in
# build/PRESET/test_results/. Environment: LIGHTNING_PRESET (release), LIGHTNING_JOBS.
# Open MPI is installed with the rest, so the tests under mpirun must not be skipped. As root, where
# namespaces can be made, it also installs SLURM's packages, and then the tests that run on a SLURM
# of their own must not be skipped either.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_lib.sh

which=all
options=()
for argument in "$@"; do
  case "$argument" in
    --quick | --exhaustive) which=${argument#--} ;;
    -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) options+=("$argument") ;;
  esac
done

preset="${LIGHTNING_PRESET:-release}"
build_dir="build/$preset"
results="$PWD/$build_dir/test_results"

scripts/bootstrap.sh --test
targets=()
chosen=()
if [[ $which == quick ]]; then
  targets=(quick_tests)
  chosen=(--label-regex '^(unit|structure)$')
else
  export LIGHTNING_REQUIRE_MPIRUN="${LIGHTNING_REQUIRE_MPIRUN:-1}"
  if ((EUID == 0)) && unshare --mount --uts --pid --fork --mount-proc true 2> /dev/null; then
    scripts/slurm_cluster.sh install
    export LIGHTNING_REQUIRE_SLURM="${LIGHTNING_REQUIRE_SLURM:-1}"
  fi
  [[ $which == exhaustive ]] && export LIGHTNING_EXHAUSTIVE=1
fi
configure "$preset" ${options[@]+"${options[@]}"}
build "$preset" ${targets[@]+"${targets[@]}"}

rm -rf "$results"
mkdir -p "$results"
status=0
# One more than there are cores: tests of several ranks mostly wait.
ctest --test-dir "$build_dir" --output-on-failure --no-tests=error -j "$(($(cores) + 1))" \
  ${chosen[@]+"${chosen[@]}"} --output-junit "$results.xml" || status=$?
.venv/bin/python scripts/summarize_tests.py "$results.xml" "$results" || status=1
exit "$status"
