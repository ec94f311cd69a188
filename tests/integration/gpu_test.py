"""Trainings on GPUs: one GPU against the CPU, exact resume, one process per GPU against one, and
what becomes of them when a rank dies or freezes. Skips what the machine has too few GPUs for.

NEVER RUN SO FAR: no machine with a GPU was at hand when it was written.
"""

import re

import pytest
import support
import torch
import trainings
from trainings import difference

GPUS = torch.cuda.device_count()
if GPUS == 0:
    support.skip("there is no GPU here", unless="LIGHTNING_REQUIRE_GPU")
two_gpus = pytest.mark.skipif(GPUS < 2, reason=f"needs 2 GPUs, here is {GPUS}")


class Training:
    def __init__(self, root, accelerator, devices, precision="64-true"):
        self.root = root
        trainings.configure(self.root, {
            "accelerator": accelerator, "devices": devices, "precision": precision,
            "deterministic": True, "heartbeat_timeout": "5s"})

    def run(self, *arguments, **options):
        return trainings.run(self.root, *arguments, timeout=300, **options).text

    def weights(self):
        return trainings.weights(self.root)

    def losses(self):
        return trainings.values(self.root, "train_loss_step")


def test_one_gpu_equals_the_cpu(tmp_path):
    cpu, gpu = Training(tmp_path / "cpu", "cpu", 1), Training(tmp_path / "gpu", "gpu", 1)
    cpu.run()
    gpu.run()
    assert difference(cpu.weights(), gpu.weights()) < 1e-9


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_resume_is_bitwise(precision, tmp_path):
    dropout = ("--model.dropout", 0.3)
    whole = Training(tmp_path / "whole", "gpu", 1, precision)
    parts = Training(tmp_path / "parts", "gpu", 1, precision)
    whole.run(*dropout)
    parts.run(*dropout, "--trainer.max_steps", 3)
    parts.run(*dropout, "--ckpt_path", "last")
    assert difference(whole.weights(), parts.weights()) == 0.0
    assert whole.losses() == parts.losses()


@two_gpus
def test_two_gpus_equal_one(tmp_path):
    one, two = Training(tmp_path / "one", "gpu", 1), Training(tmp_path / "two", "gpu", 2)
    one.run()
    text = two.run()
    assert "distributed_backend=nccl" in text, text
    assert difference(one.weights(), two.weights()) < 1e-9


@pytest.fixture(scope="module")
def undisturbed(work):
    training = Training(work / "undisturbed", "gpu", 2)
    training.run()
    return training.weights()


@two_gpus
@pytest.mark.parametrize("phase", ["training", "backward", "validation", "checkpoint"])
@pytest.mark.parametrize(("fault", "pattern"), [
    ("kill", r"rank 1 .*(exited|ended by signal 9)"),
    ("freeze", r"rank 1 .*is not responding"),
    ("throw", r"the disk of this rank"),
])
def test_faults_on_two_gpus(fault, pattern, phase, undisturbed, tmp_path):
    training = Training(tmp_path / "run", "gpu", 2)
    text = training.run("--model.fault", fault, "--model.fault_phase", phase, expect=None)
    assert re.search(pattern, text), text
    training.run("--ckpt_path", "last")
    assert difference(undisturbed, training.weights()) == 0.0
