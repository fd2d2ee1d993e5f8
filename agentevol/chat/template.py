"""Chat templates: the fallback for tokenizers without one, and the error for those that cannot be used turn by turn."""

from __future__ import annotations

# Tokenizers without a template get the plainest one that marks roles; its marks are ordinary text.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '\n### ' + message['role'] + '\n' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n### assistant\n' }}{% endif %}"
)


class ChatTemplateError(ValueError):
    """The tokenizer's chat template can't be used turn by turn."""
