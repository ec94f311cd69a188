"""A run that stops and resumes, at any step, equals the run that never stopped, bit by bit.

Each session is a fresh process. Compared are the final weights (read by the safetensors package),
the CSV rows without the time column, and the scalars that TensorBoard's own reader sees.
"""

import csv
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy
import support
from safetensors.numpy import load_file

PROGRAM = support.bin_dir() / "resume_program"

CONFIG = """
seed_everything: 5
trainer:
  accelerator: cpu
  max_epochs: {epochs}
  precision: {precision}
  accumulate_grad_batches: {accumulate}
  val_check_interval: {interval}
  log_every_n_steps: 1
  enable_progress_bar: false
  gradient_clip_val: 1.0
  async_checkpointing: {background}
  callbacks:
    - class_path: ModelCheckpoint
      init_args: {{filename: "{{step}}", save_top_k: -1, every_n_train_steps: 1}}
    - class_path: LearningRateMonitor
model:
  optimizer: {optimizer}
  schedule: {schedule}
data:
  num_workers: {workers}
"""


DEFAULTS = dict(precision="32-true", accumulate=1, interval=1.0, optimizer="adamw", workers=1,
                background="false", epochs=2, schedule="step")


def run(root, *arguments, expect=0):
    result = subprocess.run(
        [PROGRAM, "fit", "--config", root / "in.yaml", "--trainer.default_root_dir", root,
         *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if result.returncode != expect:
        sys.exit(f"expected exit code {expect}, got {result.returncode}:\n{result.stderr[-3000:]}")
    return result.stderr


def run_dir(root):
    return root / "lightning_logs" / "version_0"


def rows(root):
    with open(run_dir(root) / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    times = [name for name in table[0] if "time" in name]
    assert times, "the CSV has a time column"
    return [{k: v for k, v in row.items() if k not in times} for row in table]


def scalars(root):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(run_dir(root)), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]}


def final_weights(root):
    return load_file(run_dir(root) / "checkpoints" / "last.ckpt" / "model.safetensors")


def compare(name, whole, resumed):
    a, b = final_weights(whole), final_weights(resumed)
    assert a.keys() == b.keys(), name
    for key in a:
        assert numpy.array_equal(a[key].view(numpy.uint32), b[key].view(numpy.uint32)), (
            f"{name}: {key} differs")
    assert rows(whole) == rows(resumed), f"{name}: CSV rows differ"
    assert scalars(whole) == scalars(resumed), f"{name}: TensorBoard scalars differ"


def write_config(root, **values):
    root.mkdir()
    (root / "in.yaml").write_text(CONFIG.format(**{**DEFAULTS, **values}))


def check_every_step(folder, steps, **values):
    """Resumes from the checkpoint of each step in `steps` (all of them when None)."""
    name = "-".join(str(v) for v in values.values())
    whole = folder / name
    write_config(whole, **values)
    run(whole)
    checkpoints = sorted((run_dir(whole) / "checkpoints").glob("step=*.ckpt"))
    assert len(checkpoints) >= 8, checkpoints
    for checkpoint in checkpoints:
        step = int(checkpoint.stem.split("=")[1])
        if steps is not None and step not in steps:
            continue
        resumed = folder / f"{name}-from-{step}"
        shutil.copytree(whole, resumed, symlinks=True)
        here = run_dir(resumed) / "checkpoints"
        for other in here.glob("step=*.ckpt"):
            if int(other.stem.split("=")[1]) > step:
                shutil.rmtree(other)
        run(resumed, "--ckpt_path", here / checkpoint.name)
        compare(f"{name}, from step {step}", whole, resumed)
    print(f"{name}: ok")
    return whole


def check_schedule_per_epoch(folder):
    """The rate is halved after every second epoch, in the runs that resume too."""
    whole = check_every_step(folder, {11, 12, 15, 22, 25, 33}, schedule="epoch", epochs=4,
                             optimizer="sgd")
    rates = [float(row["lr-SGD"]) for row in rows(whole) if row["lr-SGD"]]
    assert rates == [0.01] * 22 + [0.005] * 22, rates


def wait_for(stream, text):
    for line in stream:
        if text in line:
            return
    sys.exit(f"the program ended without '{text}'")


def check_second_interrupt(folder):
    """Ctrl-C in a step that hangs; the second one ends the program at once."""
    root = folder / "twice"
    write_config(root)
    program = subprocess.Popen(
        [PROGRAM, "fit", "--config", root / "in.yaml", "--trainer.default_root_dir", root,
         "--model.stall_step", "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(program.stdout, "stalled")
        program.send_signal(signal.SIGINT)
        wait_for(program.stderr, "Press Ctrl-C again to end at once")
        assert program.poll() is None, "the first Ctrl-C waits for the step"
        program.send_signal(signal.SIGINT)
        status = program.wait(timeout=60)  # the step hangs for minutes
        assert status == -signal.SIGINT, status
    finally:
        program.kill()
        program.communicate()
    # What was written before is whole, and goes on.
    run(root, "--ckpt_path", "last")
    assert rows(root)[-1]["step"] == "22", rows(root)[-1]
    print("second Ctrl-C: ok")


def check_signal(folder, name, number, when, **values):
    """A signal: a checkpoint, the exit code, and a command that resumes."""
    whole, stopped = folder / f"whole-{name}", folder / f"stopped-{name}"
    for root in (whole, stopped):
        write_config(root, **values)
    run(whole)
    text = run(stopped, *when, "--model.signal", number, expect=128 + number)
    assert "HINT: resume with" in text and "--ckpt_path" in text, text
    command = command_in(text)
    checkpoint = pathlib.Path(command[command.index("--ckpt_path") + 1])
    assert checkpoint.is_dir(), checkpoint
    run(stopped, "--ckpt_path", checkpoint)
    compare(name, whole, stopped)
    print(f"{name}: ok")


def command_in(text):
    return text.split("resume with ")[1].splitlines()[0].split()


def check_other_options(folder, **values):
    """A run that goes on with other options keeps both configs; stopped again, it goes on with the
    newer ones."""
    root = folder / "other-options"
    write_config(root, **values)
    command = command_in(run(root, "--model.signal_step", 3, expect=130))
    checkpoint = command[command.index("--ckpt_path") + 1]
    config = run_dir(root) / "config.yaml"
    assert command[command.index("--config") + 1] == str(config), command
    before = config.read_text()
    text = run(root, "--ckpt_path", checkpoint, "--trainer.max_epochs", 3, "--model.signal_step", 6,
               expect=130)
    command = command_in(text)
    resumed = pathlib.Path(command[command.index("--config") + 1])
    assert resumed == run_dir(root) / "config-resumed-step=3.yaml", command
    assert "max_epochs: 3" in resumed.read_text() and config.read_text() == before
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and "max_epochs=3 reached" in result.stderr, result.stderr
    names = sorted(path.name for path in run_dir(root).glob("config*.yaml"))
    assert names == ["config-resumed-step=3.yaml", "config-resumed-step=6.yaml",
                     "config.yaml"], names
    print("other options: ok")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_every_step(folder, None, precision="bf16-mixed", accumulate=2, interval=0.5,
                         optimizer="adamw", workers=2, background="false")
        check_every_step(folder, {3, 11, 12}, precision="32-true", accumulate=1, interval=1.0,
                         optimizer="adamw", workers=0, background="true")
        for optimizer in ("adam", "sgd", "torch_adam", "torch_adamw", "torch_sgd", "torch_rmsprop",
                          "torch_adagrad"):
            check_every_step(folder, {7}, interval=4, optimizer=optimizer)
        check_schedule_per_epoch(folder)
        check_second_interrupt(folder)
        check_other_options(folder)
        for name, number, when, interval in (
                ("SIGINT-in-window", 2, ("--model.signal_step", 5), 1.0),
                ("SIGTERM-in-window", 15, ("--model.signal_step", 5), 1.0),
                ("signal-in-last-step", 2, ("--model.signal_step", 6), 1.0),
                ("signal-in-validation", 2, ("--model.signal_validation_batch", 4), 4),
                ("signal-in-last-validation", 2,
                 ("--model.signal_validation_batch", 4), 1.0)):
            check_signal(folder, name, number, when, accumulate=2, interval=interval)


if __name__ == "__main__":
    main()
