"""SlurmIds and TrainingTime, named by the command line of sample_li on two ranks."""

import os
import re

from support import Program


def test_callbacks(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    text = Program("sample_li")(
        "fit", "--trainer.devices", "2", "--trainer.callbacks", "[SlurmIds, TrainingTime]",
        "--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--trainer.default_root_dir",
        tmp_path, env=environment | {"OMP_NUM_THREADS": "1"}).text
    ids = re.findall(r"^rank (\d): SLURM_JOB_ID not set, SLURM_PROCID not set, cpu \(.+\) on \S+$",
                     text, re.M)
    assert ids == ["0", "1"], f"each rank once and in order: {text}"
    day = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    for line in (rf"^Training started: {day}$", rf"^Training finished: {day}$",
                 r"^Total training time: \d+ min \d+\.\d\d s$"):
        assert len(re.findall(line, text, re.M)) == 1, f"{line!r} once, on rank 0: {text}"
    (config,) = tmp_path.rglob("version_0/config.yaml")
    saved = config.read_text()
    assert "class_path: SlurmIds" in saved and "class_path: TrainingTime" in saved, saved


def test_bert_squad_knows_them_too():
    text = Program("bert_squad")("fit", "--help").stdout
    assert "SlurmIds" in text and "TrainingTime" in text
