"""Records the losses and rates of trainings in which Lightning steps two schedules of one optimizer,
one of them ReduceLROnPlateau, for tests/unit/trainer/lr_schedules_test.cpp.

  .venv/bin/python tests/golden/optimization/record_schedules.py

Writes schedules.txt beside this script: for each case its name, then a line "loss rate" for each of
100 steps, in float64. Made with lightning 2.6.6 and torch 2.11.0.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch
from torch.optim import lr_scheduler as lr


class Model(pl.LightningModule):
    """A line fitted to a curve: there is always a rest of loss, and noise from batch to batch."""

    def __init__(self, schedules):
        super().__init__()
        self.schedules = schedules
        self.layer = torch.nn.Linear(2, 1)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters(), start=1):
                values = torch.arange(parameter.numel()).add(i).sin()
                parameter.copy_(values.view_as(parameter))
        self.lines = []

    def loss(self, x):
        target = (3.0 * x[:, :1]).sin() + x[:, 1:].square()
        return (self.layer(x) - target).square().mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch.double())
        self.log("train_loss", loss)
        self.lines.append(f"{loss.item()!r} {self.optimizers().param_groups[0]['lr']!r}")
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch.double()))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        return [optimizer], self.schedules(optimizer)


def per_epoch(optimizer):
    return [{"scheduler": lr.ExponentialLR(optimizer, 0.99), "interval": "step"},
            {"scheduler": lr.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.01),
             "monitor": "val_loss"}]


def per_step(optimizer):
    return [{"scheduler": lr.LinearLR(optimizer, 0.1, 1.0, 30), "interval": "step"},
            {"scheduler": lr.ReduceLROnPlateau(optimizer, factor=0.7, patience=6, cooldown=2),
             "interval": "step", "frequency": 2, "monitor": "train_loss"}]


def record(name, schedules):
    torch.set_default_dtype(torch.float32)
    data = torch.randn((40, 2), generator=torch.Generator().manual_seed(7))
    model = Model(schedules).double()
    torch.set_default_dtype(torch.float64)
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
               enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
               max_epochs=5).fit(model, loader, loader)
    return [name] + model.lines


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    lines = record("per epoch", per_epoch) + record("per step", per_step)
    path = pathlib.Path(__file__).resolve().parent / "schedules.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
