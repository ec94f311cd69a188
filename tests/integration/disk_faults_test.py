"""A disk that fails in the middle of a whole program: one clear message, a non-zero exit, and the
checkpoints of before still load.

disk_program's calls of the file-system seam fail one kind at a time: while the run's folder is
made, while rows are logged, and at each stage of a checkpoint.
"""

import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import support

PROGRAM = support.bin_dir() / "disk_program"


def run(root, *arguments, fault=None):
    environment = {k: v for k, v in os.environ.items() if k != "LIGHTNING_TEST_DISK"}
    if fault:
        environment["LIGHTNING_TEST_DISK"] = fault
    return subprocess.run(
        [PROGRAM, "fit", "--trainer.default_root_dir", root, "--trainer.accelerator", "cpu",
         "--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false",
         "--trainer.enable_model_summary", "false", "--trainer.callbacks",
         "[{class_path: ModelCheckpoint, init_args: {filename: '{step}', every_n_train_steps: 2}}]",
         *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=environment)


def checkpoints(root):
    return sorted((root / "lightning_logs").glob("version_*/checkpoints/step=*.ckpt"))


def check_message(result, *words):
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    problems = []
    if result.returncode != 1:
        problems.append(f"exit code {result.returncode}, expected 1")
    if len(errors) != 1:
        problems.append(f"{len(errors)} lines begin with 'error:'")
    problems += [f"no '{word}'" for word in (*words, "HINT") if word not in "\n".join(errors)]
    problems += [f"'{bad}' in it" for bad in ("frame #", "terminate called", "what():")
                 if bad in result.stderr]
    return problems


def check(folder, before, name, call, number, error, part, extra=()):
    """Goes on with the run of before on a disk that fails, and again on one that is well."""
    root = folder / name.replace(" ", "-")
    shutil.copytree(before, root, symlinks=True)
    if call == "resize":  # there is something past the checkpoint to be cut
        for events in (root / "lightning_logs/version_0").glob("*tfevents*"):
            events.write_bytes(events.read_bytes() + b"events of a step that is lost")
    fault = f"{call}:{number}:{error}:{part}"
    failed = run(root, "--ckpt_path", "last", "--trainer.max_steps", 8, *extra, fault=fault)
    problems = check_message(failed, part, os.strerror(error))
    if not checkpoints(root):
        problems.append("no checkpoint is left")
    again = run(root, "--ckpt_path", "last", "--trainer.max_steps", 8)
    if again.returncode != 0 or checkpoints(root)[-1].name != "step=8.ckpt":
        problems.append(f"it can't be gone on with:\n{again.stderr[-1500:]}")
    leftovers = [p.name for p in checkpoints(root)[-1].parent.iterdir()
                 if not p.name.endswith(".ckpt")]
    if leftovers:
        problems.append(f"left over: {leftovers}")
    return [f"{name} ({fault}): {', '.join(problems)}\n{failed.stderr[-1500:]}"] if problems else []


def check_new_run(folder, name, call, number, error, part):
    root = folder / name.replace(" ", "-")
    failed = run(root, "--trainer.max_steps", 4, fault=f"{call}:{number}:{error}:{part}")
    problems = check_message(failed, os.strerror(error))
    return [f"{name}: {', '.join(problems)}\n{failed.stderr[-1500:]}"] if problems else []


def main():
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        before = folder / "before"
        good = run(before, "--trainer.max_steps", 4)
        if good.returncode != 0:
            sys.exit(f"the run before all others failed:\n{good.stderr}")

        for name, call, number, error, part in (
                ("no new run folder", "mkdir", 0, errno.EACCES, ""),
                ("no saved config", "write", 0, errno.ENOSPC, "config.yaml"),
                ("no environment file", "rename", 0, errno.EIO, "environment.json"),
                ("no log file", "open", 0, errno.EMFILE, "metrics.csv"),
                ("no event file", "open", 0, errno.EACCES, "tfevents")):
            failures += check_new_run(folder, name, call, number, error, part)
        for name, call, number, error, part in (
                ("checkpoint folder can't be made", "mkdir", 0, errno.ENOSPC, "step=6"),
                ("weights can't be written", "write", 0, errno.ENOSPC, "model.safetensors"),
                ("state can't be written", "write", 0, errno.ENOSPC, "state.safetensors"),
                ("manifest can't be opened", "open", 0, errno.EDQUOT, "manifest.json"),
                ("weights don't reach the disk", "sync", 0, errno.EIO, "model.safetensors"),
                ("weights can't be closed", "close", 0, errno.EIO, "model.safetensors"),
                ("checkpoint can't be renamed", "rename", 0, errno.EIO, "step=6"),
                ("the second checkpoint is too much", "write", 1, errno.ENOSPC,
                 "model.safetensors"),
                ("last can't be linked", "link", 0, errno.EIO, "last.ckpt"),
                ("a row can't be written", "write", 0, errno.ENOSPC, "metrics.csv"),
                ("an event can't be written", "write", 0, errno.ENOSPC, "tfevents"),
                ("rows can't be cut", "rename", 0, errno.EIO, "metrics.csv"),
                ("events can't be cut", "resize", 0, errno.EIO, "tfevents")):
            failures += check(folder, before, name, call, number, error, part)
        # The writer's thread reports to the training.
        failures += check(folder, before, "in the background", "write", 0, errno.ENOSPC,
                          "model.safetensors", ("--trainer.async_checkpointing", "true"))
    if failures:
        sys.exit("\n".join(failures))
    print("disk faults: ok")


if __name__ == "__main__":
    main()
