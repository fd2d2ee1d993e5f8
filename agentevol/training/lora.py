"""LoRA: training low-rank changes of the weights instead of the weights (Hu et al., 2021), with the library peft.

Invariant: the saved model is a plain one, with the changes merged into its weights; no later step knows about adapters.
"""

from __future__ import annotations

from typing import Any


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


def merge_lora_adapters(model: Any) -> Any:
    """The plain model with its adapters merged in; a model without adapters is returned as it is."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
