"""Start of a program: seconds to the end of its first step, and its memory; two builds compared.

  python benchmarks/startup/run.py --peer FOLDER/bin [--bin build/release/bin] [--repeats 10]

One process of sample_li with one thread on the CPU, stopped after its first step: time from the
start of the process until its first row is in metrics.csv, and the largest resident memory until
then. `--peer` is the bin folder of another build, say of an earlier commit.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

FIRST_STEP = "seconds to the first step"
MEMORY = "resident memory (MB)"


def measure(program):
    """(seconds, MB) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        command = [program, "fit", "--trainer.max_epochs", "-1", "--trainer.log_every_n_steps", "1",
                   "--trainer.limit_val_batches", "0", "--trainer.num_sanity_val_steps", "0",
                   "--trainer.enable_checkpointing", "false", "--trainer.enable_progress_bar", "false",
                   "--trainer.default_root_dir", folder]
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        try:
            while not rows(root):
                if process.poll() is not None:
                    raise SystemExit(f"{program} ended: {process.stderr.read().decode()[-2000:]}")
                time.sleep(0.001)
            seconds = time.perf_counter() - began
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        finally:
            process.kill()
            process.communicate()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
        return seconds, int(kilobytes) / 1000


def rows(root):
    """Whether a step's metrics are in the file."""
    return any(file.read_bytes().count(b"\n") > 1 for file in root.glob("**/metrics.csv"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", required=True, help="bin folder of the other build")
    parser.add_argument("--bin", default=harness.BIN, help="bin folder of this build")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", default=None, help="JSON file for all samples")
    arguments = parser.parse_args()

    programs = {"this build": pathlib.Path(arguments.bin).resolve() / "sample_li",
                "the peer": pathlib.Path(arguments.peer).resolve() / "sample_li"}
    for program in programs.values():
        if shutil.which(program) is None:
            raise SystemExit(f"{program} does not exist. HINT: build the target sample_li there.")
        measure(program)  # Its libraries are in the page cache from now on.
    results = {name: {FIRST_STEP: [], MEMORY: []} for name in programs}
    for repeat in range(arguments.repeats):
        order = list(programs)[::1 if repeat % 2 == 0 else -1]
        for name in order:
            seconds, megabytes = measure(programs[name])
            results[name][FIRST_STEP].append(seconds)
            results[name][MEMORY].append(megabytes)
            print(f"[{repeat + 1}/{arguments.repeats}] {name}: {seconds:.3f} s, {megabytes:.0f} MB",
                  file=sys.stderr, flush=True)
    harness.report("Start of sample_li", results,
                   [harness.Comparison(FIRST_STEP, "the peer", higher_is_better=False),
                    harness.Comparison(MEMORY, "the peer", higher_is_better=False)], arguments)


if __name__ == "__main__":
    main()
