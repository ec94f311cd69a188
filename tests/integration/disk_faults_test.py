"""A disk that fails in the middle of a whole program: one clear message, a non-zero exit, and the
checkpoints of before still load.

disk_program's calls of the file-system seam fail one kind at a time: while the run's folder is
made, while rows are logged, and at each stage of a checkpoint.
"""

import errno
import os
import shutil

import pytest
from support import Program, cases

DISK = Program("disk_program")


def run(root, *arguments, fault=None, expect=0):
    environment = {k: v for k, v in os.environ.items() if k != "LIGHTNING_TEST_DISK"}
    if fault:
        environment["LIGHTNING_TEST_DISK"] = ":".join(map(str, fault))
    return DISK(
        "fit", "--trainer.default_root_dir", root, "--trainer.accelerator", "cpu",
        "--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false",
        "--trainer.enable_model_summary", "false", "--trainer.callbacks",
        "[{class_path: ModelCheckpoint, init_args: {filename: '{step}', every_n_train_steps: 2}}]",
        *arguments, env=environment, expect=expect)


def checkpoints(root):
    return sorted((root / "lightning_logs").glob("version_*/checkpoints/step=*.ckpt"))


# (call, how many succeed before, error, part of the path)

@pytest.mark.parametrize(("call", "number", "error", "part"), cases({
    "no run folder": ("mkdir", 0, errno.EACCES, ""),
    "no saved config": ("write", 0, errno.ENOSPC, "config.yaml"),
    "no environment file": ("rename", 0, errno.EIO, "environment.json"),
    "no log file": ("open", 0, errno.EMFILE, "metrics.csv"),
    "no event file": ("open", 0, errno.EACCES, "tfevents"),
}, exhaustive=("no environment file", "no event file")))
def test_new_run(call, number, error, part, tmp_path):
    failed = run(tmp_path / "run", "--trainer.max_steps", 4, fault=(call, number, error, part),
                 expect=1)
    failed.check_error(os.strerror(error), "HINT")


@pytest.fixture(scope="module")
def before(work):
    run(work / "before", "--trainer.max_steps", 4)
    return work / "before"


IN_BACKGROUND = ("--trainer.async_checkpointing", "true")


@pytest.mark.parametrize(("call", "number", "error", "part", "options"), cases({
    "checkpoint folder can't be made": ("mkdir", 0, errno.ENOSPC, "step=6", ()),
    "weights can't be written": ("write", 0, errno.ENOSPC, "model.safetensors", ()),
    "state can't be written": ("write", 0, errno.ENOSPC, "state.safetensors", ()),
    "manifest can't be opened": ("open", 0, errno.EDQUOT, "manifest.json", ()),
    "weights don't reach the disk": ("sync", 0, errno.EIO, "model.safetensors", ()),
    "weights can't be closed": ("close", 0, errno.EIO, "model.safetensors", ()),
    "checkpoint can't be renamed": ("rename", 0, errno.EIO, "step=6", ()),
    "the second checkpoint is too much": ("write", 1, errno.ENOSPC, "model.safetensors", ()),
    "last can't be linked": ("link", 0, errno.EIO, "last.ckpt", ()),
    "a row can't be written": ("write", 0, errno.ENOSPC, "metrics.csv", ()),
    "an event can't be written": ("write", 0, errno.ENOSPC, "tfevents", ()),
    "rows can't be cut": ("rename", 0, errno.EIO, "metrics.csv", ()),
    "events can't be cut": ("resize", 0, errno.EIO, "tfevents", ()),
    # The writer's thread reports to the training.
    "in the background": ("write", 0, errno.ENOSPC, "model.safetensors", IN_BACKGROUND),
}, exhaustive=("state can't be written", "weights can't be closed", "weights can't be written")))
def test_resumed_run(call, number, error, part, options, before, tmp_path):
    """The disk fails while a run resumes; the next run resumes on a disk that is well."""
    root = tmp_path / "run"
    shutil.copytree(before, root, symlinks=True)
    if call == "resize":  # there is something past the checkpoint to be cut
        for events in (root / "lightning_logs/version_0").glob("*tfevents*"):
            events.write_bytes(events.read_bytes() + b"events of a step that is lost")
    failed = run(root, "--ckpt_path", "last", "--trainer.max_steps", 8, *options,
                 fault=(call, number, error, part), expect=1)
    failed.check_error(part, os.strerror(error), "HINT")
    assert checkpoints(root), failed

    run(root, "--ckpt_path", "last", "--trainer.max_steps", 8)
    assert checkpoints(root)[-1].name == "step=8.ckpt"
    leftovers = [path.name for path in checkpoints(root)[-1].parent.iterdir()
                 if not path.name.endswith(".ckpt")]
    assert not leftovers
