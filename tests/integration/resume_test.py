"""A run that stops and resumes, at any step, equals the run that never stopped, bit by bit.

Each session is a fresh process. Compared are the final weights (read by the safetensors package),
the CSV rows without the time column, and the scalars that TensorBoard's own reader sees.
"""

import csv
import functools
import os
import pathlib
import shutil
import signal
import subprocess

import numpy
import pytest
import support
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PROGRAM = support.Program("resume_program")

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
      init_args: {{logging_interval: step}}
model:
  optimizer: {optimizer}
  schedule: {schedule}
data:
  num_workers: {workers}
"""


DEFAULTS = dict(precision="32-true", accumulate=1, interval=1.0, optimizer="adamw", workers=1,
                background="false", epochs=2, schedule="step")


def command(root, *arguments):
    return (PROGRAM.path, "fit", "--config", root / "in.yaml", "--trainer.default_root_dir", root,
            *map(str, arguments))


def run(root, *arguments, expect=0):
    return support.run(*command(root, *arguments), expect=expect).stderr


def run_dir(root):
    return root / "lightning_logs" / "version_0"


def rows(root):
    with open(run_dir(root) / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    times = [name for name in table[0] if "time" in name]
    assert times, "the CSV has a time column"
    return [{k: v for k, v in row.items() if k not in times} for row in table]


def scalars(root):
    events = EventAccumulator(str(run_dir(root)), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]}


def final_weights(root):
    return load_file(run_dir(root) / "checkpoints" / "last.ckpt" / "model.safetensors")


def check_same(whole, resumed):
    a, b = final_weights(whole), final_weights(resumed)
    assert a.keys() == b.keys()
    for key in a:
        assert numpy.array_equal(a[key].view(numpy.uint32), b[key].view(numpy.uint32)), key
    assert rows(whole) == rows(resumed)
    assert scalars(whole) == scalars(resumed)


def write_config(root, **values):
    root.mkdir(parents=True)
    (root / "in.yaml").write_text(CONFIG.format(**{**DEFAULTS, **values}))


@pytest.fixture(scope="module")
def whole(work):
    """whole(options...): the folder of the run that never stopped, which is made once."""
    @functools.cache
    def train(**values):
        root = work / "-".join(map(str, values.values()))
        write_config(root, **values)
        run(root)
        return root

    return train


def steps_of(root):
    return sorted(int(path.stem.split("=")[1])
                  for path in (run_dir(root) / "checkpoints").glob("step=*.ckpt"))


def resume_from(step, whole, resumed):
    """Continues a copy of the whole run from one of its checkpoints."""
    shutil.copytree(whole, resumed, symlinks=True)
    here = run_dir(resumed) / "checkpoints"
    for other in steps_of(resumed):
        if other > step:
            shutil.rmtree(here / f"step={other}.ckpt")
    run(resumed, "--ckpt_path", here / f"step={step}.ckpt")


BF16_WINDOWS = dict(precision="bf16-mixed", accumulate=2, interval=0.5, optimizer="adamw",
                    workers=2, background="false")
IN_BACKGROUND = dict(precision="32-true", accumulate=1, interval=1.0, optimizer="adamw", workers=0,
                     background="true")
OPTIMIZERS = ("adam", "sgd", "torch_adam", "torch_adamw", "torch_sgd", "torch_rmsprop",
              "torch_adagrad")


@pytest.mark.parametrize(("values", "step"), support.cases({
    # Two epochs of six steps, each of two micro-batches, with a validation after three.
    **{f"bf16-windows-{step}": (BF16_WINDOWS, step) for step in range(1, 13)},
    **{f"in-background-{step}": (IN_BACKGROUND, step) for step in (3, 11, 12)},
    **{optimizer: (dict(interval=4, optimizer=optimizer), 7) for optimizer in OPTIMIZERS},
}, exhaustive=(
    *(f"bf16-windows-{step}" for step in range(1, 13) if step not in (1, 3, 4, 6, 8)),
    "in-background-3", "in-background-12", "adam", "torch_adam", "torch_sgd", "torch_adagrad")))
def test_resume(values, step, whole, tmp_path):
    root = whole(**values)
    if step > max(steps_of(root)):
        pytest.fail(f"the run has the steps {steps_of(root)}", pytrace=False)
    resume_from(step, root, tmp_path / "resumed")
    check_same(root, tmp_path / "resumed")


@pytest.mark.parametrize("step", support.cases(
    {str(step): step for step in (11, 12, 15, 22, 25, 33)}, exhaustive=("12", "15", "22", "33")))
def test_schedule_per_epoch(step, whole, tmp_path):
    """The rate is halved after every second epoch, in the runs that resume too."""
    root = whole(schedule="epoch", epochs=4, optimizer="sgd")
    rates = [float(row["lr-SGD"]) for row in rows(root) if row["lr-SGD"]]
    assert rates == [0.01] * 22 + [0.005] * 22, rates
    resume_from(step, root, tmp_path / "resumed")
    check_same(root, tmp_path / "resumed")


@pytest.mark.parametrize("step", support.cases(
    {str(step): step for step in (3, 6, 9, 14, 18, 20)}, exhaustive=("6", "9", "18", "20")))
def test_several_schedules(step, whole, tmp_path):
    """Three schedules of one optimizer, two of which judge metrics between steps and epochs."""
    root = whole(schedule="plateau", epochs=4, optimizer="sgd", accumulate=2, interval=4)
    rates = [row["lr-SGD"] for row in rows(root) if row["lr-SGD"]]
    assert len(set(rates)) > 8, rates
    resume_from(step, root, tmp_path / "resumed")
    check_same(root, tmp_path / "resumed")


def test_ranks_judge_one_value(tmp_path):
    """A metric that falls on rank 0 and rises on rank 1: all take rank 0's."""
    root = tmp_path / "ranks"
    write_config(root, schedule="rank_plateau", optimizer="sgd")
    run(root, "--trainer.devices", 2)
    rates = {float(row["lr-SGD"]) for row in rows(root) if row["lr-SGD"]}
    assert rates == {0.01}, rates


def test_second_interrupt(start, tmp_path):
    """Ctrl-C in a step that hangs; the second one ends the program at once."""
    root = tmp_path / "run"
    write_config(root)
    program = start(*command(root, "--model.stall_step", 4))
    program.wait_for("stalled")
    program.process.send_signal(signal.SIGINT)
    program.wait_for_error("Press Ctrl-C again to end at once")
    assert program.process.poll() is None, "the first Ctrl-C waits for the step"
    program.process.send_signal(signal.SIGINT)
    program.end(-signal.SIGINT)  # the step hangs for minutes
    # What was written before is whole, and a run resumes from it.
    run(root, "--ckpt_path", "last")
    assert rows(root)[-1]["step"] == "22"


def command_in(text):
    return text.split("resume with ")[1].splitlines()[0].split()


IN_WINDOW = ("--model.signal_step", 5)
IN_VALIDATION = ("--model.signal_validation_batch", 4)


@pytest.mark.parametrize(("number", "when", "interval"), support.cases({
    "SIGINT-in-window": (2, IN_WINDOW, 1.0),
    "SIGTERM-in-window": (15, IN_WINDOW, 1.0),
    "SIGHUP-in-window": (1, IN_WINDOW, 1.0),
    "in-last-step": (2, ("--model.signal_step", 6), 1.0),
    "in-validation": (2, IN_VALIDATION, 4),
    "in-last-validation": (2, IN_VALIDATION, 1.0),
}, exhaustive=("SIGINT-in-window",)))
def test_signal(number, when, interval, whole, tmp_path):
    """A signal: a checkpoint, the exit code, and a command that resumes."""
    values = dict(accumulate=2, interval=interval)
    stopped = tmp_path / "stopped"
    write_config(stopped, **values)
    text = run(stopped, *when, "--model.signal", number, expect=128 + number)
    assert "HINT: resume with" in text and "--ckpt_path" in text, text
    command = command_in(text)
    checkpoint = pathlib.Path(command[command.index("--ckpt_path") + 1])
    assert checkpoint.is_dir(), checkpoint
    run(stopped, "--ckpt_path", checkpoint)
    check_same(whole(**values), stopped)


def test_hangup_under_nohup(tmp_path):
    """A terminal that is closed doesn't end what ignores it."""
    root = tmp_path / "run"
    write_config(root)
    text = support.run("nohup", *command(root, *IN_WINDOW, "--model.signal", 1)).stderr
    assert "stopped by" not in text, text


@pytest.mark.parametrize("ignored", [False, True], ids=["default", "SIGPIPE-ignored"])
@pytest.mark.parametrize("number", [0, 2, 1])
def test_reader_gone(number, ignored, tmp_path):
    """No process reads the program's output any more: the training continues, and what it would have said
    is in the log file, the command that resumes too."""
    root = tmp_path / "run"
    write_config(root)
    stop = [*IN_WINDOW, "--model.signal", str(number)] if number else []
    reader, writer = os.pipe()
    with subprocess.Popen(command(root, *stop), stdout=writer, stderr=writer,
                          restore_signals=not ignored) as process:
        os.close(writer)
        os.close(reader)
        assert process.wait(120) == (128 + number if number else 0)
    log = (run_dir(root) / "logs/rank_0.log").read_text()
    assert log.count("standard error can't be written any more (Broken pipe)") == 1, log
    assert "Run folder:" in log or "HINT: resume with" in log, log
    if number:
        again = command_in(log)
        run(root, "--ckpt_path", again[again.index("--ckpt_path") + 1])
    assert rows(root)[-1]["step"] == "22"


def test_two_resumes(start, tmp_path):
    """The second of two that resume one run is told of the first, and changes nothing; when the
    first is killed, the next one resumes at once."""
    root = tmp_path / "run"
    write_config(root)
    run(root, *IN_WINDOW, "--model.signal", 15, expect=143)
    first = start(*command(root, "--ckpt_path", "last", "--model.stall_step", 10))
    first.wait_for("stalled")
    before = {path: path.read_bytes() for path in run_dir(root).rglob("*") if path.is_file()}
    text = run(root, "--ckpt_path", "last", expect=2)
    assert f"by process {first.process.pid} on " in text and "HINT: " in text, text
    assert before == {path: path.read_bytes() for path in run_dir(root).rglob("*")
                      if path.is_file()}
    first.process.kill()
    first.end(-signal.SIGKILL)
    text = run(root, "--ckpt_path", "last")
    assert f"was left by process {first.process.pid} on " in text and "takes it over" in text, text
    assert rows(root)[-1]["step"] == "22"


def test_other_options(tmp_path):
    """A run that resumes with other options keeps both configs; stopped again, it resumes with the
    newer ones."""
    root = tmp_path / "run"
    write_config(root)
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
    result = support.run(*command)
    assert "max_epochs=3 reached" in result.stderr, result
    names = sorted(path.name for path in run_dir(root).glob("config*.yaml"))
    assert names == ["config-resumed-step=3.yaml", "config-resumed-step=6.yaml",
                     "config.yaml"], names
