"""Adapters of a small language model, made by stock peft, for the tests of the merge tool."""

import subprocess
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/merge.py"

ADAPTERS = {  # name -> LoraConfig: unequal ranks, alphas, patterns and scalings, the same four layers
    "law": {"r": 4, "lora_alpha": 8},
    "med": {"r": 2, "lora_alpha": 3, "use_rslora": True},
    "art": {"r": 3, "lora_alpha": 6, "rank_pattern": {"1.q_proj": 1}, "alpha_pattern": {"v_proj": 5}},
}


class Language(nn.Module):
    """Two layers of q_proj and v_proj, as a language model's attention looks to LoRA."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        names = ("q_proj", "v_proj", "o_proj")
        self.layers = nn.ModuleList(
            [nn.ModuleDict({name: nn.Linear(40, 40, bias=False) for name in names}) for _ in range(2)]
        )

    def forward(self, x):
        for layer in self.layers:
            x = x + layer["o_proj"](torch.tanh(layer["q_proj"](x)) * layer["v_proj"](x))
        return x


def train(folder, targets=("q_proj", "v_proj"), seed=0, **config):
    """A PEFT adapter with random factors, saved by peft; returns peft's own ΔW by layer."""
    rng = torch.Generator().manual_seed(seed)
    adapted = get_peft_model(Language(), LoraConfig(target_modules=list(targets), **config))
    deltas = {}
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
        for name, module in adapted.base_model.model.named_modules():
            if hasattr(module, "get_delta_weight"):
                deltas[f"{name}.weight"] = module.get_delta_weight("default").clone()
    adapted.save_pretrained(str(folder))
    return deltas


def run(*words, cwd=None, code=None):
    command = [sys.executable, "-c", code] if code else [sys.executable, str(SCRIPT)]
    return subprocess.run([*command, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)
