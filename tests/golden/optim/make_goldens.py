"""Writes the expected values of the optim and precision tests with PyTorch and transformers.

  python tests/golden/optim/make_goldens.py           writes the headers beside this file
  python tests/golden/optim/make_goldens.py --check   compares them with what the packages say now
"""

import math
import pathlib
import re
import sys

import torch
import transformers

FOLDER = pathlib.Path(__file__).resolve().parent
SHAPES = [(3, 4), (5,), (2, 3)]
STEPS = 20

OPTIMIZERS = {
    "adadelta": ("Adadelta", dict(lr=1.0, eps=1e-6)),
    "adadelta_rho_weight_decay": ("Adadelta", dict(lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1)),
    "adam": ("Adam", dict(lr=0.01)),
    "adam_weight_decay": ("Adam", dict(lr=0.01, weight_decay=0.1)),
    "adam_amsgrad": ("Adam", dict(lr=0.02, amsgrad=True)),
    "adamw": ("AdamW", dict(lr=0.01, weight_decay=0.01)),
    "adamw_amsgrad": ("AdamW", dict(lr=0.02, weight_decay=0.1, amsgrad=True)),
    "adamw_betas_eps": ("AdamW", dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05)),
    "sgd": ("SGD", dict(lr=0.05)),
    "sgd_weight_decay": ("SGD", dict(lr=0.05, weight_decay=0.1)),
    "sgd_momentum": ("SGD", dict(lr=0.05, momentum=0.9, weight_decay=0.01)),
    "sgd_nesterov": ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True)),
    "sgd_dampening": ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.3)),
}


def start_value(i: int, k: int) -> float:
    return math.sin(0.7 * i + 0.3 * k + 0.1)


def gradient(i: int, k: int, step: int) -> float:
    return math.cos(1.3 * i + 0.9 * k + 0.5 * step) * (1.0 + 0.1 * k)


def has_gradient(i: int, step: int) -> bool:
    """The third parameter is left out now and then, so that its step count falls behind."""
    return not (i == 2 and step % 7 in (0, 3))


def tensor(function, shape) -> torch.Tensor:
    n = math.prod(shape)
    return torch.tensor([function(k) for k in range(n)], dtype=torch.float64).reshape(shape)


def run_optimizer(kind: str, options: dict) -> list[float]:
    params = [torch.nn.Parameter(tensor(lambda k: start_value(i, k), shape))
              for i, shape in enumerate(SHAPES)]
    groups = [{"params": params[:1]},
              {"params": params[1:], "lr": options["lr"] * 0.1, "weight_decay": 0.2}]
    optimizer = getattr(torch.optim, kind)(groups, foreach=False, **options)
    for step in range(STEPS):
        for i, param in enumerate(params):
            param.grad = (tensor(lambda k: gradient(i, k, step), param.shape)
                          if has_gradient(i, step) else None)
        optimizer.step()
    return [x for param in params for x in param.detach().flatten().tolist()]


def optimizer_header() -> str:
    lines = ["struct OptimizerGolden {", "  const char* name;", "  const char* optimizer;",
             "  // beta1 is rho for Adadelta.", "  double lr, beta1, beta2, eps, weight_decay, momentum, dampening;",
             "  bool amsgrad, nesterov;", "  std::vector<double> values;", "};", "",
             "inline const std::vector<OptimizerGolden> kOptimizerGoldens = {"]
    for name, (kind, options) in OPTIMIZERS.items():
        beta1, beta2 = options.get("betas", (0.9, 0.999))
        beta1 = options.get("rho", beta1)
        numbers = [options["lr"], beta1, beta2, options.get("eps", 1e-8),
                   options.get("weight_decay", 0.0), options.get("momentum", 0.0),
                   options.get("dampening", 0.0)]
        flags = [options.get("amsgrad", False), options.get("nesterov", False)]
        lines.append(f'    {{"{name}", "{kind}", {", ".join(map(repr, map(float, numbers)))}, '
                     f'{", ".join(str(f).lower() for f in flags)},')
        lines.append(f"     {{{numbers_text(run_optimizer(kind, options))}}}}},")
    return "\n".join(lines + ["};"])


def schedule(make, base: float, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def scheduler_header() -> str:
    t = transformers
    lr = torch.optim.lr_scheduler
    schedules = {
        "step_3_half": (lambda o: lr.StepLR(o, 3, 0.5), 12),
        "linear_warmup_4_of_15": (lambda o: t.get_linear_schedule_with_warmup(o, 4, 15), 18),
        "linear_warmup_0_of_7": (lambda o: t.get_linear_schedule_with_warmup(o, 0, 7), 9),
        "linear_warmup_9_of_5": (lambda o: t.get_linear_schedule_with_warmup(o, 9, 5), 8),
        "cosine_warmup_3_of_12": (lambda o: t.get_cosine_schedule_with_warmup(o, 3, 12), 12),
        "cosine_torch_10": (lambda o: lr.CosineAnnealingLR(o, 10), 10),
        "cosine_torch_10_min_tenth": (lambda o: lr.CosineAnnealingLR(o, 10, eta_min=0.02), 10),
        "cosine_warmup_3_of_12_min_fifth": (
            lambda o: t.get_cosine_with_min_lr_schedule_with_warmup(o, 3, 12, min_lr_rate=0.2),
            12),
    }
    lines = ["struct ScheduleGolden {", "  const char* name;", "  std::vector<double> rates;", "};",
             "", "inline constexpr double kScheduleBaseRate = 0.2;", "",
             "inline const std::vector<ScheduleGolden> kScheduleGoldens = {"]
    for name, (make, steps) in schedules.items():
        lines.append(f'    {{"{name}",')
        lines.append(f"     {{{numbers_text(schedule(make, 0.2, steps))}}}}},")
    return "\n".join(lines + ["};"])


def scaler_header() -> str:
    """One weight, gradient of the loss 1 everywhere; `x` marks steps whose gradient overflows."""
    pattern = "..x...xx....x........xxx......."
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([weight], lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    scales, weights = [], []
    for mark in pattern:
        optimizer.zero_grad()
        loss = weight.sum() * (float("inf") if mark == "x" else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        weights.append(weight.item())
    return "\n".join([
        f'inline constexpr const char* kScalerSteps = "{pattern}";',
        f"inline const std::vector<double> kScalerScales = {{{numbers_text(scales)}}};",
        f"inline const std::vector<double> kScalerWeights = {{{numbers_text(weights)}}};"])


def numbers_text(values: list[float]) -> str:
    lines = [", ".join(repr(float(v)) for v in values[i:i + 4]) for i in range(0, len(values), 4)]
    return ",\n      ".join(lines)


def headers() -> dict[str, str]:
    top = ("// Written by make_goldens.py with torch {} and transformers {}.\n"
           "// clang-format off\n#pragma once\n\n#include <vector>\n\nnamespace golden {{\n\n").format(
               torch.__version__.split("+")[0], transformers.__version__)
    end = "\n\n}  // namespace golden\n"
    return {"optimizer_goldens.h": top + optimizer_header() + end,
            "lr_scheduler_goldens.h": top + scheduler_header() + end,
            "loss_scaler_goldens.h": top + scaler_header() + end}


NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def differs(old: str, new: str) -> bool:
    """Whether two headers differ in more than the last digits (and the packages' versions)."""
    old, new = (text.split("\n", 1)[1] for text in (old, new))
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return True
    pairs = zip(NUMBER.findall(old), NUMBER.findall(new))
    return any(abs(float(a) - float(b)) > 1e-12 * max(1.0, abs(float(a))) for a, b in pairs)


def main() -> None:
    for name, text in headers().items():
        path = FOLDER / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif differs(path.read_text(), text):
            sys.exit(f"{path} isn't what torch {torch.__version__} and transformers "
                     f"{transformers.__version__} say: run make_goldens.py")
    print(f"{FOLDER}: {'checked' if '--check' in sys.argv else 'written'}")


if __name__ == "__main__":
    main()
