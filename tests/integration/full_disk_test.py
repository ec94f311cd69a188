"""A disk that is really full: sample_li writes checkpoints to a tiny tmpfs until there is no room.

It is mounted in a mount namespace of this test, which needs root; skipped elsewhere.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import support

SAMPLE = support.bin_dir() / "sample_li"
MOUNTED = "LIGHTNING_TEST_TMPFS"
SIZE_MIB = 8  # a checkpoint of sample_li takes 1.2 MB


def fit(folder, *arguments):
    return subprocess.run(
        [SAMPLE, "fit", "--trainer.default_root_dir", folder, "--trainer.accelerator", "cpu",
         "--trainer.enable_progress_bar", "false", "--trainer.num_sanity_val_steps", "0",
         "--trainer.limit_val_batches", "0", *map(str, arguments)],
        capture_output=True, text=True, timeout=120)


def fill(folder):
    every_step = ("[{class_path: ModelCheckpoint, init_args: {filename: '{step}', save_top_k: -1, "
                  "every_n_train_steps: 1}}]")
    full = fit(folder, "--trainer.max_steps", 50, "--trainer.callbacks", every_step)
    errors = [line for line in full.stderr.splitlines() if line.startswith("error:")]
    assert full.returncode == 1 and len(errors) == 1, (full.returncode, full.stderr)
    assert "No space left on device" in errors[0] and str(folder) in errors[0], errors
    kept = folder / "lightning_logs/version_0/checkpoints"
    steps = sorted(int(p.stem.split("=")[1]) for p in kept.glob("step=*.ckpt") if p.is_dir())
    assert len(steps) >= 2 and steps == list(range(1, len(steps) + 1)), steps
    # With room again the run goes on from the last checkpoint that was whole.
    shutil.rmtree(kept / "step=1.ckpt")
    shutil.rmtree(kept / "step=2.ckpt")
    again = fit(folder, "--trainer.max_steps", steps[-1] + 1, "--ckpt_path", "last")
    assert again.returncode == 0, again.stderr
    assert f"step {steps[-1]}" in again.stderr, again.stderr
    print(f"full after {len(steps)} checkpoints: ok")


def main():
    if MOUNTED in os.environ:
        folder = pathlib.Path(os.environ[MOUNTED])
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", folder],
                       check=True)
        fill(folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        own_mounts = ["unshare", "--mount"]
        probe = subprocess.run(
            [*own_mounts, "mount", "-t", "tmpfs", "-o", "size=1m", "none", folder],
            capture_output=True, text=True) if shutil.which("unshare") else None
        if probe is None or probe.returncode != 0:
            support.skip("a tmpfs can't be mounted here (not root?)")
        done = subprocess.run([*own_mounts, sys.executable, __file__],
                              env={**os.environ, MOUNTED: folder})
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
