"""Records what Lightning's callbacks that change training do to weights and learning rates, for
tests/unit/callbacks/{gradient_accumulation_scheduler,finetuning,model_pruning}_test.cpp.

  .venv/bin/python tests/golden/callbacks/record_training_callbacks.py

Writes accumulation_schedule.txt (the weights after each optimizer step) and
backbone_finetuning.txt (learning rates of the epoch's last step for each group, then the
weights) and model_pruning.txt (the weights after each epoch's pruning and in the end) beside this
script. Made with lightning 2.6.6 and torch 2.11.0.
"""

import logging
import pathlib
import warnings

import lightning.pytorch as pl
import torch

FOLDER = pathlib.Path(__file__).resolve().parent


def fill(module):
    """Weights that both libraries can make."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters(), start=1):
            values = torch.arange(parameter.numel()).add(i).double().sin()
            parameter.copy_(values.view_as(parameter))


def weights_of(module):
    return " ".join(f"{value:.17g}" for p in module.parameters() for value in p.flatten().tolist())


def loader(samples):
    data = torch.arange(2 * samples).double().mul(0.7).cos().view(samples, 2)
    return torch.utils.data.DataLoader(data, batch_size=2)


def fit(module, callback, epochs, samples):
    pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
               enable_progress_bar=False, enable_model_summary=False, max_epochs=epochs,
               callbacks=[callback]).fit(module, loader(samples))


class Accumulates(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1).double()
        fill(self)
        self.lines = []

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def on_train_batch_end(self, *_):
        if len(self.lines) < self.global_step:
            self.lines.append(weights_of(self))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Finetunes(pl.LightningModule):
    def __init__(self, scheduled):
        super().__init__()
        self.backbone = torch.nn.Linear(2, 2).double()
        self.head = torch.nn.Linear(2, 1).double()
        fill(self)
        self.scheduled = scheduled
        self.lines = []

    def training_step(self, batch, batch_idx):
        return self.head(self.backbone(batch)).square().mean()

    def on_before_optimizer_step(self, optimizer):
        self.rates = [group["lr"] for group in optimizer.param_groups]

    def on_train_epoch_end(self):
        rates = " ".join(f"{rate:.17g}" for rate in self.rates)
        self.lines.append(f"{rates} | {weights_of(self)}")

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.head.parameters(), lr=0.1, momentum=0.9)
        if not self.scheduled:
            return optimizer
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def record_accumulation_schedule():
    module = Accumulates()
    # 50 + 25 + 9 * 4 steps
    fit(module, pl.callbacks.GradientAccumulationScheduler({5: 2, 10: 3}), epochs=19, samples=20)
    (FOLDER / "accumulation_schedule.txt").write_text("\n".join(module.lines) + "\n")


def record_backbone_finetuning():
    lines = []
    for scheduled, options in [
        (False, dict(unfreeze_backbone_at_epoch=2)),
        (False, dict(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5,
                     backbone_initial_ratio_lr=0.5)),
        (False, dict(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.03, should_align=False)),
        (True, dict(unfreeze_backbone_at_epoch=2)),
    ]:
        module = Finetunes(scheduled)
        fit(module, pl.callbacks.BackboneFinetuning(**options), epochs=7, samples=6)
        lines += [f"case {len(lines) // 8}", *module.lines]
    (FOLDER / "backbone_finetuning.txt").write_text("\n".join(lines) + "\n")


class Pruned(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2, 4).double()
        self.second = torch.nn.Linear(4, 1).double()
        fill(self)
        self.lines = []

    def effective(self):
        """Pruned parameters are computed by the layers' forward."""
        self(torch.zeros(1, 2).double())
        return " ".join(f"{value:.17g}" for layer in (self.first, self.second)
                        for p in (layer.weight, layer.bias) for value in p.flatten().tolist())

    def forward(self, x):
        return self.second(self.first(x).tanh())

    def training_step(self, batch, batch_idx):
        return self(batch).square().mean()

    def on_train_batch_end(self, *_):
        # Else pruning looks at the weights of before the last step, which the last forward left.
        with torch.no_grad():
            self.effective()

    def on_train_epoch_start(self):
        if self.current_epoch > 0:
            self.lines.append(self.effective())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def record_model_pruning():
    lines = []
    for number, options in enumerate([
        dict(amount=0.3, use_lottery_ticket_hypothesis=False),
        # From the second pruning on Lightning begins at the present values: it shares the memory of
        # the first ones with the parameters.
        dict(amount=0.5),
        dict(amount=0.25, use_lottery_ticket_hypothesis=False, use_global_unstructured=False,
             parameter_names=["weight"]),
        dict(amount=lambda epoch: 0.2 * epoch, use_lottery_ticket_hypothesis=False),
    ]):
        module = Pruned()
        pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                   enable_progress_bar=False, enable_model_summary=False, max_epochs=4,
                   gradient_clip_val=0.5,
                   callbacks=[pl.callbacks.ModelPruning("l1_unstructured", **options)]).fit(
                       module, loader(8))
        lines += [f"case {number}", *module.lines, module.effective()]
    (FOLDER / "model_pruning.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    record_accumulation_schedule()
    record_backbone_finetuning()
    record_model_pruning()
