"""Libraries that a run needs and that are not installed: one line before anything is played or trained."""

from __future__ import annotations

from typing import Any

import pytest

from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from flows import check_parameters as module
from flows.check_parameters import check_parameters


@pytest.mark.parametrize(
    ("library", "settings", "message"),
    [
        ("peft", {"finetune": {"lora_rank": 8}}, r"finetune.lora_rank: peft is not installed; pip install 'agentevol\[lora\]', or set it"),
        ("bitsandbytes", {"finetune": {"optimizer": "adamw_8bit"}}, "finetune.optimizer adamw_8bit: bitsandbytes is not installed; pip"),
        ("vllm", {"engine": {"kind": "vllm"}}, "engine.kind vllm: vllm is not installed; install it"),
    ],
)
def test_a_missing_library_is_named_before_a_run_starts(
    library: str, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {library}
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in missing else name)
    params = Params.model_validate(settings)
    with pytest.raises(SettingsError, match=message):
        check_parameters(params)
    if library != "vllm":
        check_parameters(params, trains=False)
    check_parameters(Params.model_validate({**settings, "cluster": {"address": "auto"}}))
    missing.clear()
    check_parameters(params)
