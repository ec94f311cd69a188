"""Trainings of ranks_program (tests/integration/ranks_program.cpp): how they are configured and run,
and what lies in their run folders."""

import csv
import json

import numpy
import support
from safetensors.numpy import load_file

PROGRAM = support.bin_dir() / "ranks_program"


def configure(root, trainer=None, **sections):
    """Makes `root` with an in.yaml: a training of two epochs that keeps the checkpoint of each
    step. `trainer` replaces and adds options; sections are model and data."""
    options = {
        "accelerator": "cpu", "precision": "64-true", "max_epochs": 2, "log_every_n_steps": 1,
        "num_sanity_val_steps": 0, "enable_progress_bar": False, "enable_model_summary": False,
        "callbacks": [{"class_path": "ModelCheckpoint", "init_args": {
            "filename": "{step}", "save_top_k": -1, "every_n_train_steps": 1}}]}
    root.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    (root / "in.yaml").write_text(json.dumps(
        {"seed_everything": 3, "trainer": options | (trainer or {}), **sections}))


def command(root, *arguments, name="fit"):
    return [str(part) for part in (PROGRAM, name, "--config", root / "in.yaml",
                                   "--trainer.default_root_dir", root, *arguments)]


def run(root, *arguments, name="fit", **options):
    """Runs it to its end; `options` are those of support.run()."""
    return support.run(*command(root, *arguments, name=name), **options)


def run_dir(root, version=0):
    return root / f"lightning_logs/version_{version}"


def checkpoints(root, version=0):
    return run_dir(root, version) / "checkpoints"


def weights(root, version=0):
    return load_file(checkpoints(root, version) / "last.ckpt/model.safetensors")


def difference(a, b):
    """The largest one between two sets of weights."""
    assert a.keys() == b.keys()
    return max(float(numpy.abs(a[key] - b[key]).max()) for key in a)


def rows(root, version=0):
    """Of metrics.csv, without times."""
    with open(run_dir(root, version) / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if "time" not in name}
                for row in csv.DictReader(file)]


def seen(files):
    """{(epoch, step): numbers of the samples} of the files that --model.samples names."""
    samples = {}
    for file in files:
        for line in file.read_text().splitlines():
            epoch, step, number = map(int, line.split())
            samples.setdefault((epoch, step), []).append(number)
    return samples


def values(root, name, version=0):
    return [float(row[name]) for row in rows(root, version) if row.get(name)]


def check_preparation(file, ranks, preparing):
    """In a file of ranks_program's hooks: `preparing` ranks prepared data, each once, and after all
    of them each of the `ranks` was set up."""
    calls = [line.split() for line in file.read_text().splitlines()]
    for owner in ("data", "model"):
        for hook, expected in (("prepare_data", preparing), ("setup", range(ranks))):
            called = sorted(int(rank) for rank, name in calls if name == f"{owner}.{hook}")
            assert called == list(expected), (owner, hook, calls)
    names = [name.split(".")[1] for _, name in calls]
    assert names == sorted(names), calls
