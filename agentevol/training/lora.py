"""LoRA: learning low-rank changes of the weights instead of the weights (Hu et al., 2021), by the library peft.

Invariant: what is saved is a plain model, the changes merged into its weights; nothing downstream knows of adapters.
"""

from __future__ import annotations

from typing import Any


class PeftNotInstalled(ImportError):
    """LoRA is asked for and peft is not installed."""


def add_lora_adapters(model: Any, rank: int, alpha: float | None) -> Any:
    """The model with adapters of `rank` at every linear layer but the output; only they are learnt. `alpha`: 2 * rank where None."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise PeftNotInstalled("finetune.lora_rank needs the library peft: pip install 'agentevol[lora]', or set it to null") from None
    config = LoraConfig(r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def merged(model: Any) -> Any:
    """The plain model again."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
