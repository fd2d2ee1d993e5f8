"""When a vLLM engine can load another model's weights, and when it has to start anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from agentevol.rollout.engines.vllm import _configuration_key


def test_a_policy_of_a_model_in_the_form_of_an_earlier_transformers_needs_no_new_engine(
    small_models: dict[str, Path], tmp_path: Path
) -> None:
    policy, base = small_models["llama"], shutil.copytree(small_models["llama"], tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config |= {"transformers_version": "4.32.0", "eos_token_id": 7, "_name_or_path": "elsewhere"}
    (base / "config.json").write_text(json.dumps(config))
    assert _configuration_key(base, 4, 512, {}) == _configuration_key(policy, 4, 512, {})
    (base / "config.json").write_text(json.dumps({**config, "rope_theta": 5e5}))
    assert _configuration_key(base, 4, 512, {}) != _configuration_key(policy, 4, 512, {})
    assert _configuration_key(policy, 4, 512, {"dtype": "bfloat16"}) != _configuration_key(policy, 4, 512, {})
