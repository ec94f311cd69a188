"""SlurmIds and TrainingTime, named by the command line of sample_li on two ranks."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import support


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = [support.bin_dir() / "sample_li", "fit", "--trainer.devices", "2",
                   "--trainer.callbacks", "[SlurmIds, TrainingTime]", "--trainer.max_steps", "2",
                   "--trainer.accelerator", "cpu", "--trainer.default_root_dir", folder]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        result = subprocess.run(command, capture_output=True, text=True, timeout=240,
                                env=environment | {"OMP_NUM_THREADS": "1"})
        text = result.stdout + result.stderr
        if result.returncode != 0:
            sys.exit(f"FAILED: exit code {result.returncode}: {text}")
        ids = re.findall(r"^rank (\d): SLURM_JOB_ID not set, SLURM_PROCID not set, cpu \(.+\) on \S+$",
                         text, re.M)
        assert ids == ["0", "1"], f"each rank once and in order: {text}"
        day = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        for line in (rf"^Training started: {day}$", rf"^Training finished: {day}$",
                     r"^Total training time: \d+ min \d+\.\d\d s$"):
            assert len(re.findall(line, text, re.M)) == 1, f"{line!r} once, on rank 0: {text}"
        (config,) = folder.rglob("version_0/config.yaml")
        saved = config.read_text()
        assert "class_path: SlurmIds" in saved and "class_path: TrainingTime" in saved, saved

    help_text = subprocess.run([support.bin_dir() / "bert_squad", "fit", "--help"], text=True,
                               capture_output=True, check=True, timeout=240).stdout
    assert "SlurmIds" in help_text and "TrainingTime" in help_text, "bert_squad knows them too"


if __name__ == "__main__":
    main()
