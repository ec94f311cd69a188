"""Records when and why Lightning's EarlyStopping ends a fit, which files its ModelCheckpoint keeps and
where its SpikeDetection sees a spike, for
tests/unit/callbacks/{early_stopping,model_checkpoint,spike_detection}_test.cpp.

  .venv/bin/python tests/golden/callbacks/record_callbacks.py

Writes early_stopping.txt, model_checkpoint.txt and spike_detection.txt beside this script; each line is one case: its
options, the values of the metric in one epoch after the other, and what came of it. Made with
lightning 2.6.6.
"""

import logging
import math
import pathlib
import tempfile
import types
import warnings

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.spike import SpikeDetection, TrainingSpikeException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

FOLDER = pathlib.Path(__file__).resolve().parent


class Scripted(pl.LightningModule):
    """Its metric has the given values."""

    def __init__(self, values):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.values = values

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.log("score", self.values[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callback, values, folder):
    data = torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, callbacks=[callback], max_epochs=len(values),
        enable_checkpointing=isinstance(callback, ModelCheckpoint), enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder)
    trainer.fit(Scripted(values), data, data)
    return trainer


def text_of(value):
    return "-" if value is None else f"{value:g}"


def record_early_stopping():
    down = [5.0, 4.0, 3.5, 3.4, 3.35, 3.34, 3.33, 3.32]
    up = [-v for v in down]
    plateau = [2.0, 1.0, 1.0, 1.5, 1.0, 0.9, 1.0, 1.0, 1.0, 1.0]
    cases = [  # mode, patience, min_delta, stopping_threshold, divergence_threshold, values
        ("min", 2, 0.0, None, None, plateau),
        ("max", 2, 0.0, None, None, [-v for v in plateau]),
        ("min", 3, 0.0, None, None, plateau),
        ("max", 1, 0.0, None, None, plateau),
        ("min", 0, 0.0, None, None, plateau),
        ("min", 2, 0.0, None, None, down),
        ("min", 2, 0.2, None, None, down),
        ("max", 2, 0.2, None, None, up),
        ("max", 2, 0.5, None, None, up),
        ("min", 2, 0.0, 3.5, None, down),
        ("min", 2, 0.0, 3.45, None, down),
        ("max", 2, 0.0, -3.45, None, up),
        ("min", 5, 0.0, None, 6.0, [5.0, 6.0, 5.5, 6.5, 5.0, 5.0]),
        ("max", 5, 0.0, None, 4.0, [5.0, 4.0, 4.5, 3.5, 5.0, 5.0]),
        ("min", 5, 0.0, None, None, [5.0, math.nan, 4.0, 3.0]),
        ("max", 5, 0.0, None, None, [5.0, 4.0, math.inf, 3.0]),
    ]
    lines = []
    for mode, patience, delta, stopping, divergence, values in cases:
        callback = EarlyStopping(
            "score", mode=mode, patience=patience, min_delta=delta, stopping_threshold=stopping,
            divergence_threshold=divergence, check_on_train_epoch_end=True)
        with tempfile.TemporaryDirectory() as folder:
            epochs = fit(callback, values, folder).current_epoch
        reason = callback.stopping_reason.name.lower()
        lines.append(" ".join([
            mode, str(patience), text_of(delta), text_of(stopping), text_of(divergence), "|",
            *map(text_of, values), "|", str(epochs), reason]))
    (FOLDER / "early_stopping.txt").write_text("\n".join(lines) + "\n")


def record_model_checkpoint():
    values = [3.0, 1.0, 2.0, 5.0, 1.0, 4.0, 0.5]
    cases = [  # mode, save_top_k, every_n_epochs, values
        ("min", 1, 1, values), ("max", 1, 1, values), ("min", 3, 1, values), ("max", 3, 1, values),
        ("max", 2, 2, values), ("min", -1, 3, values), ("min", 2, 1, [2.0, 2.0, 2.0, 1.0]),
        ("max", 2, 1, [2.0, math.nan, 1.0, 3.0]), ("min", 2, 1, [math.nan, 2.0, 1.0, 3.0]),
    ]
    lines = []
    for mode, top_k, every, values in cases:
        with tempfile.TemporaryDirectory() as folder:
            callback = ModelCheckpoint(
                folder, "{epoch}", monitor="score", mode=mode, save_top_k=top_k,
                every_n_epochs=every, save_on_train_epoch_end=True)
            fit(callback, values, folder)
            kept = sorted(int(path.stem.split("=")[1]) for path in pathlib.Path(folder).iterdir())
            best = int(pathlib.Path(callback.best_model_path).stem.split("=")[1])
        lines.append(" ".join([
            mode, str(top_k), str(every), "|", *map(text_of, values), "|", *map(str, kept), "|",
            str(best), text_of(callback.best_model_score.item())]))
    (FOLDER / "model_checkpoint.txt").write_text("\n".join(lines) + "\n")


def record_spike_detection():
    calm = [5.0, 4.0, 4.5, 3.5, 4.0, 3.0, 3.5, 2.5]
    cases = [  # mode, window, warmup, atol, rtol, finite_only, losses
        ("min", 10, 1, None, 2.0, True, calm),
        ("min", 10, 1, None, 2.0, True, [*calm, 12.0, 2.0]),
        ("min", 2, 1, None, 2.0, True, [*calm, 8.0, 9.5]),
        ("min", 10, 1, None, 0.2, True, calm),
        ("min", 10, 4, None, 0.1, True, calm),
        ("min", 3, 1, 1.5, None, True, [*calm, 4.0, 5.5]),
        ("min", 3, 1, 1.5, 0.9, True, [*calm, 4.0, 5.5, 8.5]),
        ("max", 10, 1, None, 0.5, True, [1.0, 2.0, 3.0, 2.5, 1.0]),
        ("min", 10, 1, None, 2.0, True, [5.0, 4.0, math.nan, 3.0]),
        ("min", 10, 1, None, 2.0, True, [5.0, -math.inf, 3.0]),
    ]
    strategy = types.SimpleNamespace(
        root_device=torch.device("cpu"), barrier=lambda: None,
        reduce_boolean_decision=lambda decision, all: decision)
    fabric = types.SimpleNamespace(strategy=strategy, global_rank=0)
    lines = []
    for mode, window, warmup, atol, rtol, finite_only, losses in cases:
        with tempfile.TemporaryDirectory() as folder:
            spikes = SpikeDetection(mode, window, warmup, atol, rtol, f"{folder}/skip.json",
                                    finite_only)
            found = -1
            try:
                for i, loss in enumerate(losses):
                    spikes.on_train_batch_end(fabric, torch.tensor(loss), None, i)
            except TrainingSpikeException:
                found = i
        lines.append(" ".join([
            mode, str(window), str(warmup), text_of(atol), text_of(rtol), str(int(finite_only)), "|",
            *map(text_of, losses), "|", str(found)]))
    (FOLDER / "spike_detection.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    record_early_stopping()
    record_model_checkpoint()
    record_spike_detection()
