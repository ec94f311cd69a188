"""A training step of MiniLM on SQuAD text: ours against Lightning with transformers.

  python benchmarks/bert_squad/run.py --data SQUAD_FILE [--repeats 5] [--out results.json]

A subset of the file's answerable questions (--questions, evenly spread) is written once and trained
on for two epochs by each side; the first epoch is warm-up, the second one is timed. Both sides make
windows of 384 with stride 128 from it, batches of 8 by the length-grouping rule of
squad_common.length_grouped_batches (the library's LengthGroupedSampler with its default options,
which here sorts the whole subset), bf16-mixed, fused AdamW, clip 1.0, dropout 0.1. The orders are
not the same, the padded widths nearly are.

"Lightning, the seed's way" pads every example to the longest of the whole file and computes in
float32; its steps all cost the same, so that a few of them are enough.
"""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402
import squad_common  # noqa: E402
from bert_squad.make_subset import make_subset  # noqa: E402

SECONDS = "seconds per step"
BATCH = 8
FOLDER = harness.ROOT / "build" / "benchmarks" / "bert_squad"
# What bert_squad prints at the end of an epoch; the last match is the timed epoch.
EPOCH_SECONDS = r"[Ee]poch time:? *([\d.]+) ?s"


def features_of(subset):
    tokenizer = squad_common.load_tokenizer(squad_common.minilm_folder())
    questions = squad_common.answerable_questions(squad_common.read_articles(subset))
    return squad_common.question_first_features(questions, tokenizer, 384, 128, label=False)


def step_gflop(width, hidden=384, intermediate=1536, layers=6):
    """Matrix products of one training step of batch 8: forward, and twice that backward."""
    per_token = 2 * (4 * hidden * hidden + 2 * hidden * intermediate) + 4 * width * hidden
    return 3 * layers * per_token * BATCH * width / 1e9


def ours(arguments, subset, steps, devices=1):
    def seconds_per_step(output):
        epoch = harness.pattern(EPOCH_SECONDS)(output)
        return None if epoch is None else epoch / steps

    command = [harness.BIN / "bert_squad", "fit",
               "--config", harness.ROOT / "configs" / "bert_squad" / "minilm.yaml",
               "--model.pretrained", squad_common.minilm_folder(),
               "--data.train_file", subset, "--data.batch_size", BATCH // devices,
               "--data.max_seq_length", 384, "--data.doc_stride", 128,
               "--trainer.max_epochs", 2, "--trainer.limit_val_batches", 0,
               "--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", 1.0,
               "--trainer.callbacks", "[]", "--trainer.enable_checkpointing", "false",
               "--trainer.default_root_dir", FOLDER / "ours", *arguments.ours]
    if devices > 1:
        command += ["--trainer.devices", devices]
    return harness.Contender("ours", command, {SECONDS: seconds_per_step},
                             {"OMP_NUM_THREADS": str(arguments.num_threads)}, terminal=True)


# The library keeps freed host memory automatically; what the same setting does for the peer.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


def peer(arguments, name, subset, options, environment=None, devices=1):
    command = [sys.executable, "benchmarks/bert_squad/lightning_peer.py", "--data", subset,
               "--batch_size", BATCH // devices, "--devices", devices,
               "--num_threads", arguments.num_threads, *options]
    return harness.Contender(name, command, {SECONDS: harness.json_key("seconds_per_step")},
                             {"OMP_NUM_THREADS": str(arguments.num_threads), **(environment or {})},
                             terminal=True)


def print_use_of_machine(results, width, arguments):
    """How far each side's step is from the machine's best bf16 matrix product."""
    peak = json.loads(subprocess.run(
        [sys.executable, "benchmarks/gemm_peak.py", "--num_threads", str(arguments.num_threads)],
        cwd=harness.ROOT, check=True, stdout=subprocess.PIPE).stdout)
    work = step_gflop(width)
    print(f"\nMean width {width:.0f} tokens, {work:.0f} GFLOP of matrix products a step. "
          f"GEMM peak: {peak['bfloat16']} GFLOP/s bfloat16, {peak['float32']} float32.")
    for name in ("ours", "Lightning"):
        if name in results:
            seconds = sorted(results[name][SECONDS])[len(results[name][SECONDS]) // 2]
            print(f"{name}: {work / seconds:.0f} GFLOP/s, "
                  f"{100 * work / seconds / peak['bfloat16']:.0f}% of the bfloat16 peak.")


def main():
    parser = harness.argument_parser(__doc__)
    parser.add_argument("--data", required=True, help="SQuAD v1.1 or v2 JSON file")
    parser.add_argument("--questions", type=int, default=320)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--peers", nargs="+", help="names of the peers to run (default: all)")
    parser.add_argument("--ours", nargs="*", default=[], help="more arguments for bert_squad")
    arguments = parser.parse_args()

    FOLDER.mkdir(parents=True, exist_ok=True)
    subset = FOLDER / "subset.json"
    make_subset(arguments.data, arguments.questions, subset)
    lengths = [len(f.ids) for f in features_of(subset)]
    batches = squad_common.length_grouped_batches(lengths, BATCH, seed=1, epoch=1)
    width = sum(max(lengths[i] for i in batch) for batch in batches) / len(batches)

    contenders = [
        ours(arguments, subset, len(batches)),
        peer(arguments, "Lightning", subset, ["--mode", "fast"]),
        peer(arguments, "Lightning, freed memory kept", subset, ["--mode", "fast"], KEEP_MEMORY),
        peer(arguments, "Lightning, the seed's way", subset,
             ["--mode", "seed", "--longest_of", arguments.data, "--max_steps", 8,
              "--warmup_steps", 2]),
    ]
    if arguments.peers:
        contenders = [c for c in contenders if c.name in ("ours", *arguments.peers)]
    results = harness.interleave(contenders, arguments)
    harness.report(f"MiniLM on SQuAD text, {arguments.num_threads} threads", results, [
        harness.Comparison(SECONDS, name, higher_is_better=False, unit="s")
        for name in results if name != "ours"
    ], arguments)
    print_use_of_machine(results, width, arguments)


if __name__ == "__main__":
    main()
