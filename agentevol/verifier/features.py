"""The features of an episode for the verifier: hidden states of a frozen language model over its text.

Invariant: the observation after the last answer is not read, because it often states the outcome ("You have reached the goal"). The reward
and the progress are not read either. The features of an episode do not depend on the other episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevol.chat.load import load_chat_tokenizer
from agentevol.data.trajectory import Trajectory
from agentevol.models import load_model, max_context_length

Features = NDArray[np.float64]
"""[episodes, 2 * width of the model]: the mean of the last hidden states over the answers' tokens, and the one of the last token."""


def episode_features(
    trajectories: Sequence[Trajectory],
    model_folder: Path,
    *,
    max_tokens: int,
    template_kwargs: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """The features of each trajectory. Of a longer conversation the last `max_tokens` tokens are read (or the model's context, if shorter).

    One forward pass per episode, without gradients. Raises ModelNotFound, ChatTemplateError.
    """
    import torch

    model, chat = load_model(model_folder), load_chat_tokenizer(model_folder, template_kwargs)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    body = model.base_model.to(device)
    limit = min(max_tokens, max_context_length(model.config) or max_tokens)
    rows = []
    with torch.inference_mode():
        for done, trajectory in enumerate(trajectories, 1):
            example = chat.tokenize_conversation(trajectory.messages)
            ids, of_answers = list(example.token_ids)[-limit:], list(example.loss_mask)[-limit:]
            if not ids:  # no answer: nothing to judge
                rows.append(np.zeros(2 * int(model.config.get_text_config().hidden_size)))
                continue
            states = body(torch.tensor([ids], device=device), use_cache=False).last_hidden_state[0].double().cpu()
            mask = torch.tensor(of_answers, dtype=torch.bool)
            rows.append(torch.cat([states[mask if mask.any() else slice(None)].mean(dim=0), states[-1]]).numpy())
            if progress is not None:
                progress(done, len(trajectories))
    return np.stack(rows) if rows else np.zeros((0, 2 * int(model.config.get_text_config().hidden_size)))
