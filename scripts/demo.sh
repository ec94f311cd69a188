#!/usr/bin/env bash
# The main job from nothing: sets the machine up, builds, fine-tunes MiniLM on the bundled questions
# on the CPU, scores it before and after, and asks it three questions. A few minutes on two cores.
#
# Usage: scripts/demo.sh [options for `bert_squad fit`...]     for example --trainer.max_epochs 1
# Environment: LIGHTNING_DEMO_DIR, the folder of its runs (runs/demo).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_lib.sh

program=build/release/bin/bert_squad
root=${LIGHTNING_DEMO_DIR:-runs/demo}
config=(--config configs/bert_squad/demo.yaml --trainer.default_root_dir "$root")

title() { printf '\n== %s\n' "$*"; }

# ask QUESTION: about the passage below.
ask() {
  printf '\nQ: %s\nA: ' "$1"
  "$program" ask --ckpt_path "$checkpoint" --context_file "$passage" --question "$1" 2> "$messages" ||
    { cat "$messages" >&2; return 1; }
}

scripts/bootstrap.sh
[[ -f build/release/build.ninja ]] || configure release
build release bert_squad

title "Before training: the answers of a new head"
"$program" validate "${config[@]}" --model.allow_new_head true --trainer.enable_progress_bar false

title "Training"
"$program" fit "${config[@]}" "$@"
run=$(ls -dt "$root"/lightning_logs/version_*/checkpoints/best.ckpt | head -n 1)
run=${run%/checkpoints/best.ckpt}
checkpoint=$run/checkpoints/best.ckpt

title "After training"
"$program" validate "${config[@]}" --ckpt_path "$checkpoint" --trainer.enable_progress_bar false

title "Three questions about a passage it has not seen"
passage=$(mktemp)
messages=$(mktemp)
trap 'rm -f "$passage" "$messages"' EXIT
cat > "$passage" << 'TEXT'
The old ferry across the bay leaves the northern pier at seven every morning and takes forty minutes
to reach the island. It was built of oak in 1926 and carries up to sixty passengers, but no cars. In
winter the crossing is cancelled when the wind is stronger than fifty kilometres per hour, because
the harbour entrance is too narrow for a ship that drifts.
TEXT
cat "$passage"
ask "How long does the crossing take?"
ask "When was the ferry built?"
ask "Why is the crossing cancelled in strong wind?"

title "What the run left behind"
echo "run folder:   $run"
echo "checkpoint:   $(readlink -f "$checkpoint")"
echo "TensorBoard:  $(ls "$run"/events.out.tfevents.* | head -n 1)   (tensorboard --logdir $run)"
echo "CSV:          $run/metrics.csv"
