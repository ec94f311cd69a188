"""Records the weights of a GAN that Lightning trains with manual optimization, for
tests/unit/trainer/manual_optimization_test.cpp.

  .venv/bin/python tests/golden/optimization/record_gan.py

Writes gan.txt beside this script: all weights after two epochs, one per line. Made with lightning
2.6.6 and torch 2.11.0.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch


class Gan(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.generator = torch.nn.Linear(2, 2)
        self.critic = torch.nn.Linear(2, 1)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters(), start=1):
                values = torch.arange(parameter.numel()).add(i).sin()
                parameter.copy_(values.view_as(parameter))
        self.double()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.Adam(self.generator.parameters(), lr=0.05),
                torch.optim.SGD(self.critic.parameters(), lr=0.1, momentum=0.9)]

    def score(self, x):
        return self.critic(x).square().mean()

    def training_step(self, batch, batch_idx):
        x = batch.double()
        generator, critic = self.optimizers()
        self.toggle_optimizer(critic)
        critic.zero_grad()
        self.manual_backward(-self.score(x))
        self.manual_backward(self.score(self.generator(x)))
        self.clip_gradients(critic, gradient_clip_val=0.5)
        critic.step()
        self.untoggle_optimizer(critic)
        self.toggle_optimizer(generator)
        generator.zero_grad()
        self.manual_backward(-self.score(self.generator(x)))
        generator.step()
        self.untoggle_optimizer(generator)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    data = torch.randn((6, 2), generator=torch.Generator().manual_seed(7))
    gan = Gan()
    pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
               enable_progress_bar=False, enable_model_summary=False, max_epochs=2).fit(
                   gan, torch.utils.data.DataLoader(data, batch_size=2))
    weights = torch.cat([parameter.detach().flatten() for parameter in gan.parameters()])
    path = pathlib.Path(__file__).resolve().parent / "gan.txt"
    path.write_text("".join(f"{value!r}\n" for value in weights.tolist()))
