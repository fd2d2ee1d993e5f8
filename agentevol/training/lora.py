"""LoRA: training low-rank changes of the weights instead of the weights (Hu et al., 2021), with the library peft.

Invariant: the saved model is a plain one, with the changes merged into its weights; no later step knows about adapters. What has no adapter
is saved as it was, also if training computed in another number format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentevol.models import load_model

_PREFIX, _WRAPPED = "base_model.model.", ".base_layer."  # in peft's names of the model's own parameters


class PeftNotInstalled(ImportError):
    """LoRA is configured, but peft is not installed."""


def add_lora_adapters(model: Any, rank: int, alpha: float | None) -> Any:
    """The model with adapters of `rank` at every linear layer but the output layer; only the adapters are trained.

    alpha: the scale of the adapters; None: 2 * rank. Raises PeftNotInstalled.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise PeftNotInstalled("finetune.lora_rank needs the library peft: pip install 'agentevol[lora]', or set it to null") from None
    config = LoraConfig(r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def restore_frozen_weights(model: Any, base: Path) -> None:
    """Give the weights of a model with adapters that are not trained the values of the model in `base`, in float32 and on the CPU.

    Training in 16 bits rounds them, and a merged change far below that rounding would be lost. On the CPU, because a GPU that held them in
    16 bits may have no room for this. A model without adapters stays as it is.
    """
    frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if not frozen:
        return
    model.to("cpu")
    original = dict(load_model(base).named_parameters())
    for name, parameter in frozen.items():
        parameter.data = original[name.removeprefix(_PREFIX).replace(_WRAPPED, ".")].data


def merge_lora_adapters(model: Any) -> Any:
    """The plain model with its adapters merged in; a model without adapters is returned as it is."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
