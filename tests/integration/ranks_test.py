"""The Trainer on several ranks against the Trainer on one, and what happens when a rank fails.

Ranks are started by the program itself (trainer.devices). Weights are read by the safetensors
package. Deadlines are guards against hangs: they decide nothing.
"""

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


def config(root, accumulate=1, size=44):
    trainings.configure(root, {"accumulate_grad_batches": accumulate}, data={"size": size})


def start(root, ranks, *arguments):
    return subprocess.Popen(trainings.command(root, "--trainer.devices", ranks, *arguments),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process, expect=0):
    try:
        output, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit(f"{process.args} hangs")
    if expect is not None and process.returncode != expect:
        sys.exit(f"expected exit code {expect}, got {process.returncode}:\n{output[-4000:]}")
    return output


def run(root, ranks, *arguments, expect=0):
    return finish(start(root, ranks, *arguments), expect)


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
            run(root, ranks)
            if ranks == 1:
                continue
            one = work / name / "1"
            off = difference(weights(one), weights(root))
            assert off < 1e-10, (name, ranks, off)
            for metric in ("train_loss_step", "train_loss_epoch", "val_loss", "val_least",
                           "val_count"):
                close((name, ranks, metric), values(one, metric), values(root, metric))


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
    for before, after in ((1, 2), (2, 1), (4, 3), (3, 4), (2, 4)):
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
