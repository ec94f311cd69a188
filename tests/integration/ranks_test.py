"""The Trainer on several ranks against the Trainer on one, and what happens when a rank fails.

Ranks are started by the program itself (trainer.devices). Weights are read by the safetensors
package. Deadlines are guards against hangs: they decide nothing.
"""

import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import numpy
import trainings
from safetensors.numpy import load_file
from trainings import checkpoints, difference, rows, values, weights

DEADLINE = 180
GLOO = ("--trainer.process_group_backend", "gloo")


def config(root, accumulate=1, size=44):
    trainings.configure(root, {"accumulate_grad_batches": accumulate}, data={"size": size})


def start(root, ranks, *arguments, name="fit", env=None):
    return subprocess.Popen(
        trainings.command(root, "--trainer.devices", ranks, *arguments, name=name),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def finish(process, expect=0):
    try:
        output, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit(f"{process.args} hangs")
    if expect is not None and process.returncode != expect:
        sys.exit(f"expected exit code {expect}, got {process.returncode}:\n{output[-4000:]}")
    return output


def run(root, ranks, *arguments, expect=0, **options):
    return finish(start(root, ranks, *arguments, **options), expect)


def in_parallel(function, arguments):
    """function(*each of arguments), two at a time: ranks of small models mostly start and wait."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(function, *each) for each in arguments]:
            future.result()


def close(name, a, b, limit=1e-10):
    assert len(a) == len(b), (name, len(a), len(b))
    assert numpy.allclose(a, b, rtol=0, atol=limit), (name, a, b)


def test_equals_one_process(work):
    """Same global batches: the same weights and logs, with ragged batches and accumulation too."""
    for accumulate, size in ((1, 48), (1, 41), (2, 44)):
        name = f"a{accumulate}s{size}"
        for ranks in (1, 2, 3, 4):
            root = work / name / str(ranks)
            config(root, accumulate, size)
            # Two ranks over Gloo, the others in shared memory.
            output = run(root, ranks, *(GLOO if ranks == 2 else ()))
            backend = "gloo" if ranks == 2 else "shared_memory"
            assert ranks == 1 or f"distributed_backend={backend}" in output, output
            if ranks == 1:
                continue
            one = work / name / "1"
            off = difference(weights(one), weights(root))
            assert off < 1e-10, (name, ranks, off)
            for metric in ("train_loss_step", "train_loss_epoch", "val_loss", "val_least",
                           "val_count"):
                close((name, ranks, metric), values(one, metric), values(root, metric))


def test_weights_and_skips_equal_one_process(work):
    """Weighted losses, where ranks have no sample in the last global batch (38 = 3 * 12 + 2) and
    where a rank, whose samples are all left out, skips the step that others make."""
    for least_number, size in ((0, 38), (18, 41)):
        name = f"least{least_number}"
        one = work / "weights" / name / "1"
        for ranks in (1, 2, 3, 4):
            root = work / "weights" / name / str(ranks)
            config(root, size=size)
            output = run(root, ranks, "--model.least_number", least_number)
            skipped = re.findall(r"^(?:\[rank \d\] )?skipped in step (\d+)$", output, re.M)
            # Each of these steps is one that other ranks make.
            assert all(skipped.count(step) < ranks for step in skipped), (name, ranks, skipped)
            assert bool(skipped) == (least_number > 0 and ranks > 1), (name, ranks, skipped)
            assert difference(weights(one), weights(root)) < 1e-10, (name, ranks)


def test_dropped_inputs_equal_one_process(work):
    """uneven_inputs: drop leaves the last global batch out, whatever the number of ranks."""
    for ranks in (1, 2, 3, 4):
        root = work / "drop" / str(ranks)
        config(root, size=46)
        run(root, ranks, "--trainer.uneven_inputs", "drop", "--model.samples", root / "samples")
        samples = seen(root.glob("samples.*"))
        # Two epochs of 46 / 12 batches.
        assert [len(numbers) for numbers in samples.values()] == [12] * 6, (ranks, samples)
        one = work / "drop" / "1"
        assert difference(weights(one), weights(root)) < 1e-10, ranks
        close((ranks, "train_loss"), values(one, "train_loss_epoch"),
              values(root, "train_loss_epoch"))


def test_fit_twice_equals_one_process(work):
    """The same module in a second fit(), with one parameter less to train."""
    for ranks in (1, 2, 3):
        root = work / "twice" / str(ranks)
        root.mkdir(parents=True)
        finish(subprocess.Popen([trainings.PROGRAM, "fit_twice", str(ranks), str(root)],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        one = work / "twice" / "1"
        for version in (0, 1):
            assert difference(weights(one, version), weights(root, version)) < 1e-10, (
                ranks, version)
        bias = [weights(root, version)["net.0.bias"] for version in (0, 1)]
        assert (bias[0] == bias[1]).all(), (ranks, bias)
        assert difference(weights(root, 0), weights(root, 1)) > 1e-3, ranks


def test_predictions_equal_one_process(work):
    """Each rank's file has every world-size-th sample in order; all have those of one process."""
    trained = work / "predict" / "trained"
    config(trained)
    run(trained, 1)
    checkpoint = checkpoints(trained) / "last.ckpt"
    predicted = {}
    for ranks in (1, 2, 3):
        root = work / "predict" / str(ranks)
        config(root)
        run(root, ranks, "--ckpt_path", checkpoint, name="predict")
        names = {"predictions.safetensors"} if ranks == 1 else {
            f"predictions-rank={rank}.safetensors" for rank in range(ranks)}
        files = {path.name: path for path in trainings.run_dir(root).glob("predictions*")}
        assert files.keys() == names, (ranks, files)
        for rank, name in enumerate(sorted(names)):
            part = load_file(files[name])
            assert part["number"].tolist() == list(range(rank, 13, ranks)), (ranks, rank, part)
            predicted.setdefault(ranks, {}).update(zip(part["number"].tolist(), part["output"]))
    for ranks in (2, 3):
        assert predicted[ranks].keys() == predicted[1].keys() == set(range(13)), ranks
        for number, output in predicted[ranks].items():
            assert numpy.allclose(output, predicted[1][number], rtol=0, atol=1e-12), (ranks, number)


def test_test_metrics_equal_one_process(work):
    """test() sees each of 13 samples once, on three ranks as on one."""
    trained = work / "test" / "trained"
    config(trained)
    run(trained, 1)
    for ranks in (1, 3):
        root = work / "test" / str(ranks)
        config(root)
        run(root, ranks, "--ckpt_path", checkpoints(trained) / "last.ckpt", name="test")
        assert values(root, "test_count") == [13.0], (ranks, rows(root))
        for metric in ("test_loss", "test_least"):
            close((ranks, metric), values(work / "test" / "1", metric), values(root, metric))


def test_threads_per_rank(work):
    """Each rank takes its share of the CPUs, or as many threads as the environment says; the number
    is recorded with the run."""
    share = max(len(os.sched_getaffinity(0)) // 2, 1)
    cases = (("share", {}, share), ("slurm", {"SLURM_CPUS_PER_TASK": "3"}, 3),
             ("omp", {"OMP_NUM_THREADS": "2", "SLURM_CPUS_PER_TASK": "3"}, 2))
    for name, variables, expected in cases:
        root = work / "threads" / name
        config(root)
        environment = {key: value for key, value in os.environ.items() if key not in (
            "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")}
        output = run(root, 2, "--trainer.max_steps", 1, env=environment | variables)
        told = sorted(re.findall(r"^(?:\[rank \d\] )?threads \d+$", output, re.M))
        assert told == [f"[rank 1] threads {expected}", f"threads {expected}"], (name, output)
        recorded = json.loads((trainings.run_dir(root) / "environment.json").read_text())
        assert recorded["torch_threads"] == expected, (name, recorded)


def test_threads_of_one_task(work):
    """The only task of a SLURM job takes the CPUs that it asked for."""
    root = work / "threads_of_one_task"
    config(root)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "one", "SLURM_STEP_ID": "0",
                    "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
                    "SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "3"}
    output = run(root, 1, "--trainer.max_steps", 1, "--trainer.slurm.stop_before_end", "0s",
                 env=environment)
    assert "threads 3\n" in output, output


def seen(files):
    samples = {}
    for file in files:
        for line in file.read_text().splitlines():
            epoch, step, number = map(int, line.split())
            samples.setdefault((epoch, step), []).append(number)
    return samples


def test_other_world_size(work):
    """From N ranks to M in the middle of an epoch: no sample lost or repeated, same weights."""
    whole = work / "world" / "whole"
    config(whole)
    run(whole, 1, "--model.samples", whole / "samples")
    expected = seen(whole.glob("samples.*"))

    def change(before, after):
        root = work / "world" / f"{before}to{after}"
        config(root)
        run(root, before, "--trainer.max_steps", 2, "--model.samples", root / "before")
        run(root, after, "--ckpt_path", "last", "--model.samples", root / "after")
        samples = seen([*root.glob("before.*"), *root.glob("after.*")])
        assert samples.keys() == expected.keys(), (before, after)
        for step in expected:
            assert sorted(samples[step]) == sorted(expected[step]), (before, after, step)
        off = difference(weights(whole), weights(root))
        assert off < 1e-10, (before, after, off)
        close((before, after), values(whole, "train_loss_epoch"), values(root, "train_loss_epoch"))

    in_parallel(change, itertools.permutations((1, 2, 3, 4), 2))


def test_resume_is_bitwise(work):
    """On the same number of ranks a resumed run is the same to the last bit, dropout included."""
    whole, parts = work / "bits" / "whole", work / "bits" / "parts"
    for root in (whole, parts):
        config(root, size=41)
    run(whole, 3, "--model.dropout", 0.3)
    run(parts, 3, "--model.dropout", 0.3, "--trainer.max_steps", 3)
    run(parts, 3, "--model.dropout", 0.3, "--ckpt_path", "last")
    assert difference(weights(whole), weights(parts)) == 0.0
    assert rows(whole) == rows(parts)


def test_signal_stops_all(work):
    """A signal that one rank gets stops all of them at one step; the run resumes exactly."""
    whole = work / "signal" / "whole"
    config(whole)
    run(whole, 2)
    for rank in (0, 1):
        root = work / "signal" / str(rank)
        config(root)
        output = run(root, 2, "--model.fault", "terminate", "--model.fault_rank", rank,
                     expect=128 + signal.SIGTERM)
        assert "resume with" in output, output
        run(root, 2, "--ckpt_path", "last")
        assert difference(weights(whole), weights(root)) == 0.0, rank


def test_signal_after_the_last_step(work):
    """It isn't lost, whichever rank got it: all ranks end by it."""
    for rank in (0, 1):
        root = work / "late_signal" / str(rank)
        config(root)
        output = run(root, 2, "--model.fault", "terminate", "--model.fault_rank", rank,
                     "--model.fault_phase", "train_end", expect=128 + signal.SIGTERM)
        assert "stopped by SIGTERM after step 8" in output, output


def test_request_stops_all(work):
    root = work / "request"
    config(root)
    output = run(root, 2, "--model.fault", "stop")
    assert "asked for by a rank" in output, output
    steps = [int(row["step"]) for row in rows(root)]
    assert 3 <= max(steps) < 8, steps


def test_batch_norm_equals_one_process(work):
    """Synchronised, also where ranks have no sample left in the last global batch."""
    for ranks in (1, 2, 3, 4):
        root = work / "batch_norm" / str(ranks)
        config(root, size=38)
        run(root, ranks, "--model.batch_norm", "true", "--trainer.sync_batchnorm", "true")
        one = work / "batch_norm" / "1"
        assert "norm.running_var" in weights(root)
        assert difference(weights(one), weights(root)) < 1e-10, ranks
        for metric in ("train_loss_step", "train_loss_epoch", "val_loss"):
            close((ranks, metric), values(one, metric), values(root, metric))


def test_nothing_is_made_of_a_failed_step(work):
    """Rank 0 learns of rank 1's death between backward and the optimizer step."""
    root = work / "failed_step"
    config(root)
    output = run(root, 2, "--model.fault", "kill", "--model.fault_phase", "after_backward",
                 expect=128 + signal.SIGKILL)
    assert re.search(r"rank 1 \([^)]*\) (died|ended by signal 9)", output), output
    assert "a step after the failure" not in output, output
    assert not (checkpoints(root) / "step=3.ckpt").exists()
    assert {row["step"] for row in rows(root)} == {"1", "2"}


def test_lost_rank_is_told_at_once(work):
    """A SIGTERM that comes while rank 0 leaves because of rank 1's death doesn't hide the reason."""
    root = work / "told_at_once"
    config(root)
    output = run(root, 2, "--model.fault", "kill_and_terminate", expect=-signal.SIGTERM)
    told = re.findall(r"^error: .*rank 1 \([^)]*\) (?:died|ended by signal 9)", output, re.M)
    assert len(told) == 1, output


def test_stuck_rank_ends(work):
    """Its main thread never comes back after the other rank died: the process ends, and has written
    its rows and the reason first."""
    root = work / "stuck"
    # No checkpoints: they would write the rows before.
    trainings.configure(root, {"callbacks": [], "enable_checkpointing": False})
    output = run(root, 2, "--model.fault", "kill_beside_stuck", expect=None)
    assert "ends with status 70" in output, output
    assert [row["step"] for row in rows(root)] == ["1", "2"]
    log = (trainings.run_dir(root) / "logs/rank_0.log").read_text()
    assert re.search(r"rank 1 \([^)]*\) died \(its connection closed\)", log), log


def test_differing_collectives(work):
    """Ranks that reduce tensors of other sizes or wait in other collectives: all end, and the message
    names both ranks. (Gloo ends a process itself where sizes differ: the others say which.)"""
    in_memory = r"rank [01] is in {0} of \d+ bytes.* and rank [01] in"
    cases = {
        ("sizes", "shared_memory"): in_memory.format("all_reduce"),
        ("collectives", "shared_memory"): in_memory.format("(all_reduce|barrier)"),
        ("sizes", "gloo"): r"rank [01] \([^)]*\) (died|failed|ended)",
        ("collectives", "gloo"):
            r"rank 0 \([^)]*\) waits in all_reduce #\d+ and rank 1 \([^)]*\) in barrier #\d+",
    }
    for (fault, backend), pattern in cases.items():
        root = work / "differing" / f"{fault}_{backend}"
        config(root)
        process = start(root, 2, "--model.fault", fault,
                        "--trainer.process_group_backend", backend)
        output = finish(process, expect=None)
        assert process.returncode not in (0, None), (fault, backend, output)
        assert re.search(pattern, output), (fault, backend, output)
        assert (checkpoints(root) / "step=2.ckpt").exists()


def test_preparation(work):
    """prepare_data on rank 0 alone, since all ranks are on one node; setup on every rank."""
    for per_node in ("true", "false"):
        root = work / f"preparation_{per_node}"
        config(root)
        file = root / "hooks"
        run(root, 2, "--model.hooks", file, "--data.hooks", file, "--trainer.max_steps", 1,
            "--trainer.prepare_data_per_node", per_node)
        trainings.check_preparation(file, 2, [0])


def check_loadable(root):
    for folder in checkpoints(root).glob("*.ckpt"):
        load_file(folder / "model.safetensors")
    assert (checkpoints(root) / "step=2.ckpt").exists()


def test_failures_end_all(work):
    """One rank's failure ends all ranks; the message says who and why, checkpoints load."""
    cases = [
        ("throw", 1, 1, r"the disk of this rank is full"),
        ("throw", 0, 1, r"the disk of this rank is full"),
        ("kill", 1, 128 + signal.SIGKILL, r"rank 1 "),
        ("extra_log", 1, 2, r"\"only_here\" on rank 1 only"),
        ("freeze", 1, None, r"rank 1 .*(heartbeat|frozen|no sign|silent)"),
    ]
    for fault, rank, code, pattern in cases:
        root = work / "failures" / f"{fault}{rank}"
        config(root)
        output = run(root, 2, "--model.fault", fault, "--model.fault_rank", rank,
                     "--trainer.heartbeat_timeout", "00:00:00:03", expect=code)
        assert code is not None or output, (fault, output)
        assert re.search(pattern, output), (fault, output)
        check_loadable(root)
        whole = work / "failures" / "whole"
        if not whole.exists():
            config(whole)
            run(whole, 2)
        run(root, 2, "--ckpt_path", "last")
        assert difference(weights(whole), weights(root)) == 0.0, (fault, rank)


def main():
    with tempfile.TemporaryDirectory(prefix="ranks_test_") as name:
        trainings.run_tests(globals(), pathlib.Path(name))


if __name__ == "__main__":
    main()
