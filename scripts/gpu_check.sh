#!/usr/bin/env bash
# Runs everything that needs a GPU, tests and benchmarks, and writes a table of what came of it.
#
# Usage: scripts/gpu_check.sh [--no-benchmarks]
# The table is build/release/gpu_check.md. The exit status is 0 when every test passed. Needs at least
# one NVIDIA GPU and a CUDA toolkit at build time; tests of several GPUs report what they lack.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_lib.sh

benchmarks=yes
[[ ${1:-} != --no-benchmarks ]] || benchmarks=no
if ! nvidia-smi -L > /dev/null 2>&1; then
  echo "gpu_check.sh: nvidia-smi finds no GPU, expected at least one. HINT: run it on a machine with one." >&2
  exit 1
fi

scripts/bootstrap.sh --test
configure release
build release

table=build/release/gpu_check.md
status=0
row() { echo "| $1 | $2 | $3 |" | tee -a "$table"; }

{
  echo "# What ran on a GPU"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | sed 's/^/- /'
  echo "- CUDA $(build/release/bin/sample_li --version | sed -n 's/^CUDA *//p')"
  echo "- commit $(git rev-parse --short HEAD), $(date -u +%FT%TZ)"
  echo
  echo "| what | result | time |"
  echo "| --- | --- | --- |"
} > "$table"

# check NAME COMMAND...: one row; the end of its output when it fails.
check() {
  local name=$1 began=$SECONDS log
  shift
  log=$(mktemp)
  if "$@" > "$log" 2>&1; then
    row "$name" passed "$((SECONDS - began)) s"
  else
    row "$name" FAILED "$((SECONDS - began)) s"
    tail -n 40 "$log"
    status=1
  fi
  rm -f "$log"
}

# bench NAME PATTERN COMMAND...: the line of its output that has the figure.
bench() {
  local name=$1 pattern=$2 began=$SECONDS figure
  shift 2
  if figure=$("$@" 2>&1 | grep -E "$pattern" | tail -n 1) && [[ -n $figure ]]; then
    row "$name" "$figure" "$((SECONDS - began)) s"
  else
    row "$name" FAILED "$((SECONDS - began)) s"
    status=1
  fi
}

export LIGHTNING_REQUIRE_GPU=1
check "unit tests of GPU copies and devices" build/release/bin/unit_accelerators
check "unit test of pinned batches" build/release/bin/unit_data 'Batch::pin_memory*'
check "trainings: one GPU against the CPU, resume, several GPUs, faults" \
  ctest --test-dir build/release --output-on-failure -R '^gpu$'

if [[ $benchmarks == yes ]]; then
  runs=$(mktemp -d)
  trap 'rm -rf "$runs"' EXIT
  gpus=$(nvidia-smi -L | wc -l)
  for devices in 1 $( ((gpus > 1)) && echo "$gpus"); do
    bench "sample_li, 16-mixed, $devices GPU(s), steps/s" 'steps/s' \
      build/release/bin/sample_li fit --config configs/sample_li.yaml --trainer.accelerator gpu \
      --trainer.devices "$devices" --trainer.enable_progress_bar false \
      --trainer.default_root_dir "$runs"
    bench "bert_squad, MiniLM, bf16-mixed, $devices GPU(s), steps/s" 'steps/s' \
      build/release/bin/bert_squad fit --config configs/bert_squad/demo.yaml \
      --trainer.accelerator gpu --trainer.devices "$devices" --trainer.max_epochs 1 \
      --trainer.enable_progress_bar false --trainer.default_root_dir "$runs"
  done
fi

echo "table: $table"
exit "$status"
