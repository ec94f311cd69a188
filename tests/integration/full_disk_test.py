"""A disk that is really full: sample_li writes checkpoints to a tiny tmpfs until there is no room.

It is mounted in a mount namespace, which needs root; skipped elsewhere.
"""

import shutil
import subprocess

import pytest
import support

SAMPLE = support.Program("sample_li")
SIZE_MIB = 8  # a checkpoint of sample_li takes 1.2 MB
EVERY_STEP = ("[{class_path: ModelCheckpoint, init_args: {filename: '{step}', save_top_k: -1, "
              "every_n_train_steps: 1}}]")


@pytest.fixture
def small_disk(tmp_path):
    """A folder, and what to put before a command for which it is a disk of SIZE_MIB. The disk
    lives as long as the process that holds its namespace."""
    mount = (f'mount -t tmpfs -o size={SIZE_MIB}m none "{tmp_path}" && echo mounted && '
             'exec sleep 1000')
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        support.skip("unshare and nsenter are not installed")
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    if holder.stdout.readline() != "mounted\n":
        support.skip(f"a tmpfs can't be mounted here: {holder.communicate()[1].strip()}")
    yield tmp_path, ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt")
    holder.kill()
    holder.communicate()


def test_full_disk(small_disk):
    folder, inside = small_disk

    def fit(*arguments, expect=0):
        return support.run(
            *inside, SAMPLE.path, "fit", "--trainer.default_root_dir", folder,
            "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
            "--trainer.num_sanity_val_steps", "0", "--trainer.limit_val_batches", "0", *arguments,
            expect=expect)

    full = fit("--trainer.max_steps", 50, "--trainer.callbacks", EVERY_STEP, expect=1)
    full.check_error("No space left on device", str(folder))
    kept = folder / "lightning_logs/version_0/checkpoints"
    names = support.run(*inside, "find", kept, "-maxdepth", 1, "-type", "d", "-name",
                        "step=*.ckpt").stdout.split()
    steps = sorted(int(name.rpartition("step=")[2].removesuffix(".ckpt")) for name in names)
    assert len(steps) >= 2 and steps == list(range(1, len(steps) + 1)), steps
    # With room again the run continues from the last checkpoint that was whole.
    support.run(*inside, "rm", "-r", kept / "step=1.ckpt", kept / "step=2.ckpt")
    again = fit("--trainer.max_steps", steps[-1] + 1, "--ckpt_path", "last")
    assert f"step {steps[-1]}" in again.stderr, again
