"""Trainings on GPUs: one GPU against the CPU, exact resume, one process per GPU against one, and
what becomes of them when a rank dies or freezes. Skips what the machine has too few GPUs for.

NEVER RUN SO FAR: no machine with a GPU was at hand when it was written.
"""

import pathlib
import re
import subprocess
import tempfile

import support
import trainings
from trainings import difference

def count_gpus():
    import torch
    return torch.cuda.device_count()


class Training:
    def __init__(self, work, name, accelerator, devices, precision="64-true"):
        self.root = work / name
        trainings.configure(self.root, {
            "accelerator": accelerator, "devices": devices, "precision": precision,
            "deterministic": True, "heartbeat_timeout": "5s"})

    def run(self, *arguments, expect=0):
        result = subprocess.run(trainings.command(self.root, *arguments), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=300)
        ok = result.returncode != 0 if expect is None else result.returncode == expect
        assert ok, (result.returncode, result.stdout[-4000:])
        return result.stdout

    def weights(self):
        return trainings.weights(self.root)

    def losses(self):
        return trainings.values(self.root, "train_loss_step")


def test_one_gpu_equals_the_cpu(work):
    cpu, gpu = Training(work, "cpu", "cpu", 1), Training(work, "gpu", "gpu", 1)
    cpu.run()
    gpu.run()
    assert difference(cpu.weights(), gpu.weights()) < 1e-9


def test_resume_is_bitwise(work):
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        whole = Training(work, f"whole_{precision}", "gpu", 1, precision)
        parts = Training(work, f"parts_{precision}", "gpu", 1, precision)
        whole.run("--model.dropout", 0.3)
        parts.run("--model.dropout", 0.3, "--trainer.max_steps", 3)
        parts.run("--model.dropout", 0.3, "--ckpt_path", "last")
        assert difference(whole.weights(), parts.weights()) == 0.0, precision
        assert whole.losses() == parts.losses(), precision


def test_two_gpus_equal_one(work):
    one, two = Training(work, "one", "gpu", 1), Training(work, "two", "gpu", 2)
    one.run()
    text = two.run()
    assert "distributed_backend=nccl" in text, text
    assert difference(one.weights(), two.weights()) < 1e-9


def test_faults_on_two_gpus(work):
    whole = Training(work, "undisturbed", "gpu", 2)
    whole.run()
    for fault, pattern in (("kill", r"rank 1 .*(died|ended by signal 9)"),
                           ("freeze", r"rank 1 .*is frozen"), ("throw", r"the disk of this rank")):
        for phase in ("training", "backward", "validation", "checkpoint"):
            run = Training(work, f"{fault}_{phase}", "gpu", 2)
            text = run.run("--model.fault", fault, "--model.fault_phase", phase, expect=None)
            assert re.search(pattern, text), text
            run.run("--ckpt_path", "last")
            assert difference(whole.weights(), run.weights()) == 0.0, (fault, phase)


NEEDS = {test_one_gpu_equals_the_cpu: 1, test_resume_is_bitwise: 1, test_two_gpus_equal_one: 2,
         test_faults_on_two_gpus: 2}


def main():
    gpus = count_gpus()
    if gpus == 0:
        support.skip("no GPU here", unless="LIGHTNING_REQUIRE_GPU")
    with tempfile.TemporaryDirectory() as name:
        for test, needed in NEEDS.items():
            if gpus < needed:
                print(f"{test.__name__}: SKIPPED, needs {needed} GPUs and there are {gpus}")
                continue
            folder = pathlib.Path(name) / test.__name__
            folder.mkdir()
            test(folder)
            print(f"{test.__name__}: passed", flush=True)


if __name__ == "__main__":
    main()
