"""The Trainer on several ranks against the Trainer on one, and what happens when a rank fails.

Ranks are started by the program itself (trainer.devices). Weights are read by the safetensors
package.
"""

import functools
import itertools
import json
import os
import re
import shutil
import signal

import numpy
import pytest
import support
import trainings
from safetensors.numpy import load_file
from support import cases
from trainings import checkpoints, difference, rows, seen, values, weights

pytestmark = pytest.mark.usefixtures("one_thread")

GLOO = ("--trainer.process_group_backend", "gloo")


def train(root, ranks, *arguments, accumulate=1, size=44, **options):
    """Trains in a new folder; what the program said."""
    trainings.configure(root, {"accumulate_grad_batches": accumulate}, data={"size": size})
    return run(root, ranks, *arguments, **options)


def run(root, ranks, *arguments, **options):
    return trainings.run(root, "--trainer.devices", ranks, *arguments, **options).text


@pytest.fixture(scope="module")
def trained(work):
    """trained(ranks, arguments...): the folder of a training that is made once."""
    @functools.cache
    def train_once(ranks, *arguments, **options):
        name = "_".join(re.sub(r"\W", "", str(part)) for part in (ranks, *arguments,
                                                                  *options.values()))
        root = work / f"trained_{name}"
        train(root, ranks, *arguments, **options)
        return root

    return train_once


def close(a, b, limit=1e-10):
    assert len(a) == len(b)
    assert numpy.allclose(a, b, rtol=0, atol=limit), (a, b)


LOGGED = ("train_loss_step", "train_loss_epoch", "val_loss", "val_least", "val_count")


@pytest.mark.parametrize(("accumulate", "size", "ranks"), cases({
    f"accumulate{accumulate}-size{size}-ranks{ranks}": (accumulate, size, ranks)
    for (accumulate, size), ranks in itertools.product(((1, 48), (1, 41), (2, 44)), (2, 3, 4))
}, exhaustive=("accumulate1-size48-ranks3", "accumulate1-size48-ranks4",
               "accumulate1-size41-ranks2", "accumulate1-size41-ranks4",
               "accumulate2-size44-ranks2", "accumulate2-size44-ranks3")))
def test_equals_one_process(accumulate, size, ranks, trained, tmp_path):
    """Same global batches: the same weights and logs, with ragged batches and accumulation too."""
    # Two ranks over Gloo, the others in shared memory.
    output = train(tmp_path, ranks, *(GLOO if ranks == 2 else ()), accumulate=accumulate, size=size)
    assert f"distributed_backend={'gloo' if ranks == 2 else 'shared_memory'}" in output, output
    one = trained(1, accumulate=accumulate, size=size)
    assert difference(weights(one), weights(tmp_path)) < 1e-10
    for metric in LOGGED:
        close(values(one, metric), values(tmp_path, metric))


METRICS = ("train_error_epoch", "train_auroc", "val_error", "val_least_of_all")


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3, "4": 4}, exhaustive=("4",)))
def test_metrics_equal_one_process(ranks, trained, tmp_path):
    """Metrics from the states of all ranks, where ranks have no sample in the last global batch
    (38 = 3 * 12 + 2), and with a different number of ranks from the middle of an epoch on."""
    options = ("--model.metrics", "true")
    one = trained(1, *options, size=38)
    train(tmp_path, ranks, *options, size=38)
    for metric in METRICS:
        assert len(values(one, metric)) == 2
        close(values(one, metric), values(tmp_path, metric))
    # The same number of ranks gives the same bits, whatever the number of the step.
    whole = rows(tmp_path)
    for step in (2, 6):
        run(tmp_path, ranks, *options, "--ckpt_path", checkpoints(tmp_path) / f"step={step}.ckpt")
        assert rows(tmp_path) == whole, step
    run(tmp_path, 5 - ranks if ranks < 4 else 2, *options,
        "--ckpt_path", checkpoints(tmp_path) / "step=2.ckpt")
    for metric in METRICS:
        close(values(one, metric), values(tmp_path, metric))


@pytest.mark.parametrize(("least_number", "size", "ranks"), cases({
    f"least{least}-ranks{ranks}": (least, size, ranks)
    for (least, size), ranks in itertools.product(((0, 38), (18, 41)), (2, 3, 4))
}, exhaustive=("least0-ranks2", "least0-ranks4", "least18-ranks2", "least18-ranks3")))
def test_weights_and_skips_equal_one_process(least_number, size, ranks, trained, tmp_path):
    """Weighted losses, where ranks have no sample in the last global batch (38 = 3 * 12 + 2) and
    where a rank, whose samples are all left out, skips the step that others make."""
    options = ("--model.least_number", least_number)
    output = train(tmp_path, ranks, *options, size=size)
    skipped = re.findall(r"^(?:\[rank \d\] )?skipped in step (\d+)$", output, re.M)
    # Each of these steps is one that other ranks make.
    assert all(skipped.count(step) < ranks for step in skipped), skipped
    assert bool(skipped) == (least_number > 0), skipped
    assert difference(weights(trained(1, *options, size=size)), weights(tmp_path)) < 1e-10


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3, "4": 4}, exhaustive=("3",)))
def test_manual_optimization_equals_one_process(ranks, trained, tmp_path):
    """Two optimizers with toggles, clipping and two backwards each, at a ragged end too, and with
    another number of ranks from the third step on."""
    options = ("--model.manual", "true")
    whole = weights(trained(1, *options, size=41))
    train(tmp_path, ranks, *options, size=41)
    assert difference(whole, weights(tmp_path)) < 1e-10
    checkpoint = checkpoints(tmp_path) / "step=3.ckpt"
    run(tmp_path, 5 - ranks if ranks < 4 else 2, *options, "--ckpt_path", checkpoint)
    assert difference(whole, weights(tmp_path)) < 1e-10


def train_averaged(root, ranks, average, *arguments):
    callbacks = [{"class_path": "ModelCheckpoint", "init_args": {
        "filename": "{step}", "save_top_k": -1, "every_n_train_steps": 1}}, average]
    trainings.configure(root, {"callbacks": callbacks, "sync_batchnorm": True},
                        model={"batch_norm": True}, data={"size": 41})
    run(root, ranks, *arguments)


@pytest.mark.parametrize("average", [
    {"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.8}},
    {"class_path": "StochasticWeightAveraging",
     "init_args": {"swa_lrs": [0.01], "swa_epoch_start": 2, "annealing_epochs": 1}},
], ids=["ema", "swa"])
def test_averages_equal_one_process(average, tmp_path):
    """Averages and BatchNorm's renewed statistics, also with another number of ranks from the
    seventh step on."""
    one, two = tmp_path / "one", tmp_path / "two"
    train_averaged(one, 1, average)
    train_averaged(two, 2, average)
    assert difference(weights(one), weights(two)) < 1e-10
    close(values(one, "val_loss"), values(two, "val_loss"))
    run(two, 3, "--ckpt_path", checkpoints(two) / "step=7.ckpt")
    assert difference(weights(one), weights(two)) < 1e-10


def test_averages_of_buffers_that_differ_resume_exactly(tmp_path):
    """BatchNorm's statistics of each rank: rank 0's are averaged, before and after a resume."""
    average = {"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.8}}
    options = ("--trainer.sync_batchnorm", "false")
    train_averaged(tmp_path, 2, average, *options)
    whole, logged = weights(tmp_path), values(tmp_path, "val_loss")
    run(tmp_path, 2, *options, "--ckpt_path", checkpoints(tmp_path) / "step=3.ckpt")
    assert difference(whole, weights(tmp_path)) == 0
    assert values(tmp_path, "val_loss") == logged


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3, "4": 4}, exhaustive=("2", "4")))
def test_dropped_inputs_equal_one_process(ranks, trained, tmp_path):
    """uneven_inputs: drop leaves the last global batch out, whatever the number of ranks."""
    options = ("--trainer.uneven_inputs", "drop")
    one = trained(1, *options, size=46)
    train(tmp_path, ranks, *options, "--model.samples", tmp_path / "samples", size=46)
    samples = seen(tmp_path.glob("samples.*"))
    # Two epochs of 46 / 12 batches.
    assert [len(numbers) for numbers in samples.values()] == [12] * 6, samples
    assert difference(weights(one), weights(tmp_path)) < 1e-10
    close(values(one, "train_loss_epoch"), values(tmp_path, "train_loss_epoch"))


@pytest.fixture(scope="module")
def fitted_twice(work):
    @functools.cache
    def fit(ranks):
        root = work / f"twice{ranks}"
        root.mkdir()
        support.run(trainings.PROGRAM, "fit_twice", ranks, root)
        return root

    return fit


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3}, exhaustive=("3",)))
def test_fit_twice_equals_one_process(ranks, fitted_twice):
    """The same module in a second fit(), with one parameter less to train."""
    one, root = fitted_twice(1), fitted_twice(ranks)
    for version in (0, 1):
        assert difference(weights(one, version), weights(root, version)) < 1e-10
    bias = [weights(root, version)["net.0.bias"] for version in (0, 1)]
    assert (bias[0] == bias[1]).all(), bias
    assert difference(weights(root, 0), weights(root, 1)) > 1e-3


def predict(root, ranks, checkpoint):
    """{number: output} of all ranks: each rank's file has every world-size-th sample in order."""
    trainings.configure(root)
    run(root, ranks, "--ckpt_path", checkpoint, name="predict")
    names = ["predictions.safetensors"] if ranks == 1 else [
        f"predictions-rank={rank}.safetensors" for rank in range(ranks)]
    files = {path.name: path for path in trainings.run_dir(root).glob("predictions*")}
    assert files.keys() == set(names)
    predicted = {}
    for rank, name in enumerate(names):
        part = load_file(files[name])
        assert part["number"].tolist() == list(range(rank, 13, ranks)), (rank, part)
        predicted.update(zip(part["number"].tolist(), part["output"]))
    return predicted


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3}, exhaustive=("2",)))
def test_predictions_equal_one_process(ranks, trained, tmp_path):
    checkpoint = checkpoints(trained(1)) / "last.ckpt"
    expected = predict(tmp_path / "one", 1, checkpoint)
    found = predict(tmp_path / "several", ranks, checkpoint)
    assert found.keys() == expected.keys() == set(range(13))
    for number, output in found.items():
        assert numpy.allclose(output, expected[number], rtol=0, atol=1e-12), number


def test_test_metrics_equal_one_process(trained, tmp_path):
    """test() sees each of 13 samples once, on three ranks as on one."""
    checkpoint = checkpoints(trained(1)) / "last.ckpt"
    for ranks in (1, 3):
        train(tmp_path / str(ranks), ranks, "--ckpt_path", checkpoint, name="test")
        assert values(tmp_path / str(ranks), "test_count") == [13.0]
    for metric in ("test_loss", "test_least"):
        close(values(tmp_path / "1", metric), values(tmp_path / "3", metric))


def without_threads():
    return {key: value for key, value in os.environ.items()
            if key not in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")}


@pytest.mark.parametrize(("variables", "expected"), cases({
    "share": ({}, max(len(os.sched_getaffinity(0)) // 2, 1)),
    "slurm": ({"SLURM_CPUS_PER_TASK": "3"}, 3),
    "omp": ({"OMP_NUM_THREADS": "2", "SLURM_CPUS_PER_TASK": "3"}, 2),
}, exhaustive=("slurm",)))
def test_threads_per_rank(variables, expected, tmp_path):
    """Each rank takes its share of the CPUs, or as many threads as the environment says; the number
    is recorded with the run."""
    output = train(tmp_path, 2, "--trainer.max_steps", 1, env=without_threads() | variables)
    told = sorted(re.findall(r"^(?:\[rank \d\] )?threads \d+$", output, re.M))
    assert told == [f"[rank 1] threads {expected}", f"threads {expected}"], output
    recorded = json.loads((trainings.run_dir(tmp_path) / "environment.json").read_text())
    assert recorded["torch_threads"] == expected, recorded


def test_threads_of_one_task(tmp_path):
    """The only task of a SLURM job takes the CPUs that it asked for."""
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "one", "SLURM_STEP_ID": "0",
           "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1",
           "SLURM_CPUS_PER_TASK": "3"}
    output = train(tmp_path, 1, "--trainer.max_steps", 1, "--trainer.slurm.stop_before_end", "0s",
                   env=without_threads() | job)
    assert "threads 3\n" in output, output


@pytest.fixture(scope="module")
def samples_of_one(work):
    """The training of one process that notes which samples it sees, and these."""
    root = work / "samples_of_one"
    train(root, 1, "--model.samples", root / "samples")
    return root, seen(root.glob("samples.*"))


@pytest.mark.parametrize(("before", "after"), cases({
    f"{before}to{after}": (before, after)
    for before, after in itertools.permutations((1, 2, 3, 4), 2)
}, exhaustive=("1to2", "1to4", "2to3", "2to4", "3to1", "3to2", "3to4", "4to1", "4to3")))
def test_other_world_size(before, after, samples_of_one, tmp_path):
    """From N ranks to M in the middle of an epoch: no sample lost or repeated, same weights."""
    whole, expected = samples_of_one
    train(tmp_path, before, "--trainer.max_steps", 2, "--model.samples", tmp_path / "before")
    output = run(tmp_path, after, "--ckpt_path", "last", "--model.samples", tmp_path / "after")
    assert (f"trainer.devices: {before} in the checkpoint, {after} in the config: the new value is "
            "used") in output, output
    samples = seen([*tmp_path.glob("before.*"), *tmp_path.glob("after.*")])
    assert samples.keys() == expected.keys()
    for step in expected:
        assert sorted(samples[step]) == sorted(expected[step]), step
    assert difference(weights(whole), weights(tmp_path)) < 1e-10
    close(values(whole, "train_loss_epoch"), values(tmp_path, "train_loss_epoch"))


@pytest.mark.parametrize("every", (1, 100))
def test_resume_is_bitwise(every, tmp_path):
    """On the same number of ranks a resumed run is the same to the last bit, dropout included: also
    from the checkpoint that the end of a fit leaves in the middle of an epoch."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    callbacks = [{"class_path": "ModelCheckpoint",
                  "init_args": {"filename": "{step}", "every_n_train_steps": every}}]
    options = ("--model.dropout", 0.3, "--trainer.callbacks", json.dumps(callbacks))
    train(whole, 3, *options, size=41)
    train(parts, 3, *options, "--trainer.max_steps", 3, size=41)
    run(parts, 3, *options, "--ckpt_path", "last")
    assert difference(weights(whole), weights(parts)) == 0.0
    assert rows(whole) == rows(parts)


EACH_RANK = cases({"rank0": 0, "rank1": 1}, exhaustive=("rank0",))


@pytest.mark.parametrize("rank", EACH_RANK)
def test_signal_stops_all(rank, trained, tmp_path):
    """A signal that one rank gets stops all of them at one step; the run resumes exactly."""
    output = train(tmp_path, 2, "--model.fault", "terminate", "--model.fault_rank", rank,
                   expect=128 + signal.SIGTERM)
    assert "resume with" in output, output
    run(tmp_path, 2, "--ckpt_path", "last")
    assert difference(weights(trained(2)), weights(tmp_path)) == 0.0


@pytest.mark.parametrize("rank", EACH_RANK)
def test_signal_after_the_last_step(rank, tmp_path):
    """It isn't lost, whichever rank got it: all ranks end by it."""
    output = train(tmp_path, 2, "--model.fault", "terminate", "--model.fault_rank", rank,
                   "--model.fault_phase", "train_end", expect=128 + signal.SIGTERM)
    assert "stopped by SIGTERM after step 8" in output, output


@pytest.mark.parametrize("rank", EACH_RANK)
@pytest.mark.parametrize("phase", ["setup", "fit_start"])
def test_one_rank_refuses_to_resume(phase, rank, trained, tmp_path):
    """Then no rank touches the run's folder."""
    shutil.copytree(trained(2), tmp_path / "run", symlinks=True)
    folder = trainings.run_dir(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(tmp_path / "run", 2, "--ckpt_path", folder / "checkpoints/step=3.ckpt", "--model.fault",
        "throw", "--model.fault_phase", phase, "--model.fault_rank", rank, expect=None)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_request_stops_all(tmp_path):
    output = train(tmp_path, 2, "--model.fault", "stop")
    assert "asked for by a rank" in output, output
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert 3 <= max(steps) < 8, steps


def callbacks_option(*callbacks, **checkpoint):
    """--trainer.callbacks: these (class, init_args), and a ModelCheckpoint."""
    every = ("ModelCheckpoint", {"filename": "{step}", "save_top_k": -1, **checkpoint})
    return ("--trainer.callbacks", json.dumps(
        [{"class_path": name, "init_args": args} for name, args in (*callbacks, every)]))


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3}, exhaustive=("3",)))
def test_callbacks_that_change_training_equal_one_process(ranks, tmp_path):
    """A layer that joins in the second epoch, when a step begins to take two batches: the weights of
    one process, and the same bits when the run is resumed in either epoch."""
    options = callbacks_option(
        ("BackboneFinetuning", {"backbone": "net.0", "unfreeze_backbone_at_epoch": 1}),
        ("GradientAccumulationScheduler", {"scheduling": {"1": 2}}), every_n_train_steps=1)
    for name, count in (("one", 1), ("whole", ranks)):
        train(tmp_path / name, count, *options)
    whole = weights(tmp_path / "whole")
    assert difference(weights(tmp_path / "one"), whole) < 1e-10
    for stop in (2, 5):
        train(tmp_path / str(stop), ranks, *options, "--trainer.max_steps", stop)
        run(tmp_path / str(stop), ranks, *options, "--ckpt_path", "last")
        assert difference(whole, weights(tmp_path / str(stop))) == 0.0


def test_fast_dev_run_makes_no_folder(tmp_path):
    """Nor do callbacks that would note something in the run's folder."""
    train(tmp_path, 2, "--trainer.fast_dev_run", 1, *callbacks_option(("SpikeDetection", {})))
    assert not (tmp_path / "lightning_logs").exists()


def test_pruned_ranks_have_the_same_weights(tmp_path):
    """What is left begins again at rank 0's first values, where each rank drew others: a validation
    in the fit is one of the checkpoint, which has rank 0's weights."""
    pruning = callbacks_option(("ModelPruning", {"amount": 0.3}), every_n_train_steps=1)
    train(tmp_path / "fit", 2, *pruning, "--model.fault", "weights")
    checkpoint = checkpoints(tmp_path / "fit") / "step=8.ckpt"
    train(tmp_path / "validate", 2, "--ckpt_path", checkpoint, name="validate")
    last = values(tmp_path / "fit", "val_loss")[-1:]
    close(last, values(tmp_path / "validate", "val_loss"))


def test_timer_stops_all_ranks_at_one_step(trained, tmp_path):
    """Rank 0's clock decides; the run resumes exactly."""
    slow = ("--model.step_seconds", 0.3)
    output = train(tmp_path, 2, *slow, *callbacks_option(("Timer", {"duration": "1s"}),
                                                         every_n_train_steps=1))
    assert "Timer: the duration of 1s is over" in output, output
    assert 2 <= max(int(row["step"]) for row in rows(tmp_path)) < 8
    run(tmp_path, 2, *callbacks_option(("Timer", {"duration": "1h"}), every_n_train_steps=1),
        "--ckpt_path", "last")
    assert difference(weights(trained(2)), weights(tmp_path)) == 0.0


def test_checkpoints_by_time_on_several_ranks(tmp_path):
    """All ranks save at the same steps, of which there are some in between."""
    train(tmp_path, 3, "--model.step_seconds", 0.3,
          *callbacks_option(train_time_interval="500ms"))
    steps = {int(path.stem.partition("=")[2]) for path in checkpoints(tmp_path).glob("step=*.ckpt")}
    assert 8 in steps and 2 <= len(steps) < 8, steps


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3}, exhaustive=("2",)))
def test_prediction_writer_keeps_the_order_of_the_data(ranks, trained, tmp_path):
    """Rank 0 writes what one process writes, also with a ragged last batch."""
    def write_predictions(root, ranks):
        trainings.configure(root)
        writer = [{"class_path": "PredictionWriter",
                   "init_args": {"dirpath": str(root / "out"), "write_interval": "epoch"}}]
        trainings.run(root, "--trainer.devices", ranks, "--ckpt_path",
                      checkpoints(trained(1)) / "last.ckpt", "--trainer.callbacks",
                      json.dumps(writer), name="predict")
        assert [path.name for path in (root / "out").iterdir()] == ["predictions-00000.safetensors"]
        return load_file(root / "out/predictions-00000.safetensors")

    one, several = write_predictions(tmp_path / "one", 1), write_predictions(tmp_path / "several", ranks)
    assert one.keys() == several.keys()
    for name, values_of_one in one.items():
        close(values_of_one.ravel(), several[name].ravel())
    assert several["number"].ravel().tolist() == list(range(13))


@pytest.mark.parametrize("interval", ("epoch", "batch"))
def test_prediction_writer_of_ranks_with_all_of_the_data(interval, trained, tmp_path):
    """Where each rank has all samples there is no order of all ranks' predictions; each rank's own
    batches are written."""
    trainings.configure(tmp_path)
    writer = [{"class_path": "PredictionWriter",
               "init_args": {"dirpath": str(tmp_path / "out"), "write_interval": interval}}]
    output = run(tmp_path, 2, "--ckpt_path", checkpoints(trained(1)) / "last.ckpt",
                 "--trainer.use_distributed_sampler", "false", "--trainer.callbacks",
                 json.dumps(writer), name="predict", expect=None if interval == "epoch" else 0)
    if interval == "epoch":
        assert "use_distributed_sampler is false with 2 ranks" in output, output
        assert not (tmp_path / "out").exists()
        return
    for rank in (0, 1):
        parts = sorted((tmp_path / "out").glob(f"*-rank={rank}.safetensors"))
        numbers = numpy.concatenate([load_file(part)["number"].ravel() for part in parts])
        assert sorted(numbers.tolist()) == list(range(13)), rank


@pytest.mark.parametrize("ranks", cases({"2": 2, "3": 3, "4": 4}, exhaustive=("2", "3")))
def test_batch_norm_equals_one_process(ranks, trained, tmp_path):
    """Synchronised, also where ranks have no sample left in the last global batch."""
    options = ("--model.batch_norm", "true", "--trainer.sync_batchnorm", "true")
    one = trained(1, *options, size=38)
    train(tmp_path, ranks, *options, size=38)
    assert "norm.running_var" in weights(tmp_path)
    assert difference(weights(one), weights(tmp_path)) < 1e-10
    for metric in ("train_loss_step", "train_loss_epoch", "val_loss"):
        close(values(one, metric), values(tmp_path, metric))


def test_nothing_is_made_of_a_failed_step(tmp_path):
    """Rank 0 learns of rank 1's death between backward and the optimizer step."""
    output = train(tmp_path, 2, "--model.fault", "kill", "--model.fault_phase", "after_backward",
                   expect=128 + signal.SIGKILL)
    assert re.search(r"rank 1 \([^)]*\) (exited|ended by signal 9)", output), output
    assert "a step after the failure" not in output, output
    assert not (checkpoints(tmp_path) / "step=3.ckpt").exists()
    assert {row["step"] for row in rows(tmp_path)} == {"1", "2"}


def test_lost_rank_is_told_at_once(tmp_path):
    """A SIGTERM that comes while rank 0 leaves because of rank 1's death doesn't hide the reason."""
    output = train(tmp_path, 2, "--model.fault", "kill_and_terminate", expect=-signal.SIGTERM)
    told = re.findall(r"^error: .*rank 1 \([^)]*\) (?:exited|ended by signal 9)", output, re.M)
    assert len(told) == 1, output


@pytest.mark.parametrize("fault, expect", [("kill", 128 + signal.SIGKILL),
                                           ("kill_and_terminate", -signal.SIGTERM)])
def test_rank_lost_after_the_last_collective(fault, expect, tmp_path):
    """Rank 0 learns of rank 1's death when nothing is left to do but to leave, also where SIGTERM
    comes before it has left."""
    output = train(tmp_path, 2, "--model.fault", fault, "--model.fault_phase", "after_end",
                   expect=expect)
    assert re.search(r"^error: .*rank 1 \([^)]*\) (exited|ended by signal 9)", output, re.M), output


def test_stuck_rank_ends(tmp_path):
    """Its main thread never comes back after the other rank died: the process ends, and has written
    its rows and the reason first."""
    # No checkpoints: they would write the rows before.
    trainings.configure(tmp_path, {"callbacks": [], "enable_checkpointing": False})
    output = run(tmp_path, 2, "--model.fault", "kill_beside_stuck", expect=None)
    assert "exits with status 70" in output, output
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2"]
    log = (trainings.run_dir(tmp_path) / "logs/rank_0.log").read_text()
    assert re.search(r"rank 1 \([^)]*\) exited \(its connection closed\)", log), log


IN_MEMORY = r"rank [01] is in {0} of \d+ bytes.* and rank [01] in"


@pytest.mark.parametrize(("fault", "backend", "pattern"), cases({
    "sizes-shared_memory": ("sizes", "shared_memory", IN_MEMORY.format("all_reduce")),
    "collectives-shared_memory": (
        "collectives", "shared_memory", IN_MEMORY.format("(all_reduce|barrier)")),
    "sizes-gloo": ("sizes", "gloo", r"rank [01] \([^)]*\) (exited|failed|ended)"),
    "collectives-gloo": (
        "collectives", "gloo",
        r"rank 0 \([^)]*\) waits in all_reduce #\d+ and rank 1 \([^)]*\) in barrier #\d+"),
}, exhaustive=("collectives-shared_memory", "sizes-gloo")))
def test_differing_collectives(fault, backend, pattern, tmp_path):
    """Ranks that reduce tensors of other sizes or wait in other collectives: all end, and the message
    names both ranks. (Gloo ends a process itself where sizes differ: the others say which.)"""
    output = train(tmp_path, 2, "--model.fault", fault, "--trainer.process_group_backend", backend,
                   expect=None)
    assert re.search(pattern, output), output
    assert (checkpoints(tmp_path) / "step=2.ckpt").exists()


@pytest.mark.parametrize("per_node", cases({"true": "true", "false": "false"},
                                           exhaustive=("false",)))
def test_preparation(per_node, tmp_path):
    """prepare_data on rank 0 alone, since all ranks are on one node; setup on every rank."""
    file = tmp_path / "hooks"
    train(tmp_path, 2, "--model.hooks", file, "--data.hooks", file, "--trainer.max_steps", 1,
          "--trainer.prepare_data_per_node", per_node)
    trainings.check_preparation(file, 2, [0])


@pytest.mark.parametrize(("fault", "rank", "code", "pattern"), cases({
    "throw1": ("throw", 1, 1, r"the disk of this rank is full"),
    "throw0": ("throw", 0, 1, r"the disk of this rank is full"),
    "kill1": ("kill", 1, 128 + signal.SIGKILL, r"rank 1 "),
    "extra_log1": ("extra_log", 1, 2, r"\"only_here\" on rank 1 only"),
    "freeze1": ("freeze", 1, None, r"rank 1 .*is not responding"),
}, exhaustive=("throw0", "kill1", "freeze1")))  # trainer_faults has them under each launcher
def test_failures_end_all(fault, rank, code, pattern, trained, tmp_path):
    """One rank's failure ends all ranks; the message says who and why, checkpoints load."""
    output = train(tmp_path, 2, "--model.fault", fault, "--model.fault_rank", rank,
                   "--trainer.heartbeat_timeout", "00:00:00:03", expect=code)
    assert re.search(pattern, output), output
    for folder in checkpoints(tmp_path).glob("*.ckpt"):
        load_file(folder / "model.safetensors")
    assert (checkpoints(tmp_path) / "step=2.ckpt").exists()
    run(tmp_path, 2, "--ckpt_path", "last")
    assert difference(weights(trained(2)), weights(tmp_path)) == 0.0
