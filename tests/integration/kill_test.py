"""A training with everything that has a state is killed (SIGKILL) at hooks drawn at random; the run
that resumes equals the one that was never killed: weights, averages, all other state and the rows of
metrics.csv, bit by bit; with another number of ranks to 1e-10.

The seed of the moments is printed; LIGHTNING_TEST_SEED sets it."""

import csv
import functools
import json
import os
import random
import re
import shutil

import numpy
import pytest
import support
from safetensors.numpy import load_file

PROGRAM = support.Program("kill_program")
MOMENTS = 25 if support.EXHAUSTIVE else 4
SEED = int(os.environ.get("LIGHTNING_TEST_SEED") or int.from_bytes(os.urandom(4), "little"))

CALLBACKS = [
    {"class_path": "ModelCheckpoint",
     "init_args": {"filename": "{step}", "every_n_train_steps": 1}},
    {"class_path": "ModelCheckpoint",
     "init_args": {"filename": "best-{step}", "save_top_k": 2,
                   "monitor": "val_loss/dataloader_idx_0"}},
    {"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.9}},
    {"class_path": "EarlyStopping",
     "init_args": {"monitor": "val_error/dataloader_idx_2", "patience": 100}},
    {"class_path": "LearningRateMonitor",
     "init_args": {"log_momentum": True, "log_weight_decay": True}},
    {"class_path": "Timer", "init_args": {"duration": "1d"}},
]
AUTOMATIC = [
    {"class_path": "GradientAccumulationScheduler", "init_args": {"scheduling": {0: 1, 1: 2, 2: 3}}},
    {"class_path": "BackboneFinetuning", "init_args": {"unfreeze_backbone_at_epoch": 1}},
]
# Of the clock, of the machine, or drawn anew in each run.
NOT_COMPARED = re.compile(r"second|time|_ids?$|elapsed|^loggers/|^environment/|/dirpath$|^configured/")


def run_dir(root):
    return root / "lightning_logs/version_0"


def last(root):
    return run_dir(root) / "checkpoints/last.ckpt"


def configure(root, manual, **model):
    callbacks = CALLBACKS + ([] if manual else AUTOMATIC)
    trainer = {"accelerator": "cpu", "max_epochs": 3, "precision": "64-true",
               "log_every_n_steps": 1, "enable_progress_bar": False,
               "enable_model_summary": False, "async_checkpointing": not manual,
               "callbacks": callbacks}
    if not manual:
        trainer["gradient_clip_val"] = 1.0
    root.mkdir(parents=True)
    # JSON is YAML.
    (root / "in.yaml").write_text(json.dumps(
        {"seed_everything": 5, "trainer": trainer, "model": {"manual": manual, **model}}))


def run(root, *arguments, expect=0):
    return PROGRAM("fit", "--config", root / "in.yaml", "--trainer.default_root_dir", root,
                   *arguments, expect=expect, cwd=root)


@pytest.fixture(scope="module")
def whole(work):
    """whole(manual, ranks): the run that is never killed, and its number of hooks."""
    @functools.cache
    def train(manual, ranks=1):
        root = work / f"{'manual' if manual else 'automatic'}-{ranks}"
        configure(root, manual, dropout=0.3 if ranks == 1 else 0.0)
        done = run(root, "--trainer.devices", ranks)
        return root, int(re.search(r"^hooks (\d+)$", done.stdout, re.M)[1])

    return train


def rows(root):
    with open(run_dir(root) / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if "time" not in name}
                for row in csv.DictReader(file)]


def scalars(root):
    state = json.loads((last(root) / "state.json").read_text())
    return {name: value for name, value in state.items() if not NOT_COMPARED.search(name)}


def tensors(root):
    return {(part, name): tensor for part in ("model", "state")
            for name, tensor in load_file(last(root) / f"{part}.safetensors").items()}


def check_same(a, b):
    one, other = tensors(a), tensors(b)
    assert one.keys() == other.keys()
    assert any("weights_beside" in name for _, name in one), "the average is in the checkpoint"
    for key in one:
        assert one[key].tobytes() == other[key].tobytes(), key
    assert scalars(a) == scalars(b)
    assert rows(a) == rows(b)


def moments(count, hooks):
    """Hooks in which a run is killed, of the part of the training where a checkpoint is there."""
    return sorted(random.Random(SEED).sample(range(hooks // 8, hooks + 1), count))


def kill_and_resume(root, kill_at, ranks=1, resumed_ranks=1):
    # Of several ranks either may come to its hook first.
    run(root, "--model.kill_at", kill_at, "--trainer.devices", ranks,
        expect=-9 if ranks == 1 else None)
    if not last(root).exists():
        shutil.rmtree(root / "lightning_logs")
        run(root, "--trainer.devices", resumed_ranks)
        return
    run(root, "--ckpt_path", "last", "--trainer.devices", resumed_ranks)


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
def test_killed(manual, whole, tmp_path):
    print(f"seed {SEED}")
    root, hooks = whole(manual)
    for kill_at in moments(MOMENTS, hooks):
        print(f"killed in hook {kill_at} of {hooks}")
        killed = tmp_path / str(kill_at)
        configure(killed, manual, dropout=0.3)
        kill_and_resume(killed, kill_at)
        check_same(root, killed)


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
def test_killed_on_two_ranks_and_resumed_on_three(manual, whole, tmp_path):
    print(f"seed {SEED}")
    root, hooks = whole(manual, ranks=2)
    for kill_at in moments(1 if not support.EXHAUSTIVE else 5, hooks):
        print(f"killed in hook {kill_at} of {hooks}")
        killed = tmp_path / str(kill_at)
        configure(killed, manual)
        kill_and_resume(killed, kill_at, ranks=2, resumed_ranks=3)
        one, other = tensors(root), tensors(killed)
        compared = [key for key in one if "ranks/" not in key[1] and one[key].dtype.kind == "f"]
        assert any(name == "head.weight" for _, name in compared)
        for key in compared:
            numpy.testing.assert_allclose(one[key], other[key], rtol=0, atol=1e-10, err_msg=str(key))
        for expected, row in zip(rows(root), rows(killed), strict=True):
            assert expected.keys() == row.keys()
            for name, value in expected.items():
                if value and name != "train_error_step":  # each rank's own
                    assert float(row[name]) == pytest.approx(float(value), rel=1e-8, abs=1e-10), name
