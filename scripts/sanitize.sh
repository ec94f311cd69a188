#!/usr/bin/env bash
# Builds the unit programs and sample_li with a sanitizer and runs them: all unit tests of C++, then
# short trainings of one and of two ranks, each of which is also resumed.
#
# Usage: scripts/sanitize.sh [address | thread] [PROGRAM...]
#   address   memory errors, leaks and undefined behaviour (the preset asan); the default
#   thread    data races (the preset tsan)
#   PROGRAM   unit programs to run instead of all, for example unit_data; then nothing is trained
# Environment: LIGHTNING_JOBS. The build is in build/asan or build/tsan, the results of each unit
# program in test_results/ there. What is suppressed, and why, is in tests/sanitizers/. Exit status 0
# when no sanitizer reported anything and no test failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_lib.sh

kind=address
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  address | thread) kind=$1; shift ;;
  -*) echo "sanitize.sh: unknown option '$1', expected address or thread" >&2; exit 1 ;;
esac
programs=("$@")

lists="$PWD/tests/sanitizers"
# One thread in OpenMP's regions: libgomp's barriers are unknown to the sanitizers.
export OMP_NUM_THREADS=1 LIGHTNING_TEST_CASE_SECONDS=1500
if [[ $kind == address ]]; then
  preset=asan
  export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"
  export LSAN_OPTIONS="suppressions=$lists/leaks.txt:print_suppressions=0"
  export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:suppressions=$lists/undefined.txt"
else
  preset=tsan
  # LibTorch isn't instrumented. Ranks are forked from processes that have had threads.
  export TSAN_OPTIONS="suppressions=$lists/threads.txt:ignore_noninstrumented_modules=1"
  # The world's threads end with the process: it is never destroyed (distributed/world.cpp).
  TSAN_OPTIONS+=":report_thread_leaks=0:die_after_fork=0:halt_on_error=0:exitcode=66"
  # Without a long history it loses the stacks that the suppressions look at.
  TSAN_OPTIONS+=":second_deadlock_stack=1:history_size=7"
fi
build_dir="build/$preset"
bin="$build_dir/bin"

scripts/bootstrap.sh --test
configure "$preset"
if ((${#programs[@]} > 0)); then
  build "$preset" "${programs[@]}"
else
  build "$preset" quick_tests sample_li
  for program in "$bin"/unit_*; do programs+=("$(basename "$program")"); done
fi

rm -rf "$build_dir/test_results"
mkdir -p "$build_dir/test_results"
status=0
chosen=$(IFS='|'; echo "^(${programs[*]})\$")
ctest --test-dir "$build_dir" --output-on-failure --no-tests=error -j "$(cores)" \
  --tests-regex "$chosen" --output-junit "$PWD/$build_dir/test_results.xml" || status=$?
if (($# == 0)); then
  runs=$(mktemp -d)
  trap 'rm -rf "$runs"' EXIT
  for ranks in 1 2; do
    # train NAME VALUE...: a few steps with sample_li's options.
    train() {
      local log="$runs/log"
      if "$bin/sample_li" fit --config configs/sample_li.yaml --trainer.accelerator cpu \
        --trainer.devices "$ranks" --trainer.precision bf16-mixed \
        --trainer.default_root_dir "$runs/$ranks" --trainer.limit_train_batches 6 \
        --trainer.limit_val_batches 2 --trainer.log_every_n_steps 2 "$@" > "$log" 2>&1 &&
        ! grep -qE '(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:' "$log"; then
        echo "passed: sample_li on $ranks rank(s) $*"
      else
        cat "$log"
        echo "failed: sample_li on $ranks rank(s) $*"
        status=1
      fi
    }
    train --trainer.max_epochs 1
    train --trainer.max_epochs 2 --ckpt_path last
  done
fi
.venv/bin/python scripts/summarize_tests.py "$build_dir/test_results.xml" \
  "$build_dir/test_results" || status=1
exit "$status"
