"""Checks that a model's chat template can be used turn by turn, and that a server would render the same text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.chat.contract import differences
from agentevol.chat.load import load_chat_tokenizer
from agentevol.chat.template import ChatTemplateError
from agentevol.preflight.check import Check
from agentevol.preflight.files import check_vocabulary
from agentevol.rollout.engine import one_line_error


def check_chat(folder: Path, template_kwargs: Mapping[str, Any] | None, *, uses_server: bool) -> tuple[list[Check], str | None]:
    """The checks of tokenizer and template, and ChatTokenizer.format_key.

    `uses_server`: the policies are played by a server, which applies the template to whole conversations.
    """
    try:
        chat = load_chat_tokenizer(folder, template_kwargs)
    except ChatTemplateError as error:
        return [Check("chat template", "error", str(error))], None
    except Exception as error:  # named boundary: transformers raises many kinds of errors for a damaged tokenizer
        return [Check("tokenizer", "error", one_line_error(error)[:200], "check the tokenizer's files")], None
    found = differences(chat)
    stops = ", ".join(repr(chat.tokenizer.convert_ids_to_tokens(token)) for token in sorted(chat.stop_token_ids))
    checks = [check_vocabulary(folder, chat), Check("end of an answer", "ok", f"{chat.end_text!r}; generation stops at {stops}")]
    if not found:
        checks.append(Check("chat template", "ok", "the turns together are the template's rendering of the whole conversation"))
    else:
        detail = "the template " + " and ".join(difference.detail for difference in found)
        if uses_server:
            status = "error" if {difference.kind for difference in found} - {"thoughts", "date", "variables"} else "question"
            remedy = "a server shows the policy another text than training does: set engine.kind to vllm or transformers"
        else:
            status = "question"
            remedy = "training and playing do the same at every turn, and the saved policy gets a template that does so too"
        checks.append(Check("chat template", status, detail, remedy))  # type: ignore[arg-type]
    return checks, chat.format_key()
