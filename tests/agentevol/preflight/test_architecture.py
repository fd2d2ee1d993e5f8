"""Preflight of architectures: small models of many kinds, made from transformers' configurations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from agentevol.preflight.architecture import check_architecture

_ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64}
SUPPORTED: dict[str, dict[str, Any]] = {
    "GPT2Config": {},
    "Qwen3Config": {},
    "Gemma3TextConfig": {},
    "Phi3Config": {
        "rope_parameters": _ROPE | {"short_factor": [1.0] * 48, "long_factor": [4.0] * 48},
        "original_max_position_embeddings": 64,
        "max_position_embeddings": 131072,
    },
}
UNSUPPORTED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "BertConfig": ({}, {"playing", "training"}),
    "Gemma2Config": ({}, {"playing"}),
    "Lfm2Config": ({"num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2}, {"playing"}),
    "MambaConfig": ({}, {"playing"}),
    "Gemma3Config": ({}, {"architecture"}),
}
"""By configuration: its changes, and what is not supported."""


def _folder(tmp_path: Path, tokenizer: Path, name: str, changes: dict[str, Any]) -> Path:
    """A model folder without weights: the check needs none."""
    import transformers

    folder = tmp_path / name
    getattr(transformers, name)(**changes).save_pretrained(folder)
    for path in tokenizer.iterdir():
        if path.name.startswith(("tokenizer", "chat_template", "generation")):
            shutil.copy(path, folder / path.name)
    return folder


@pytest.mark.parametrize("name", SUPPORTED)
def test_supported_architectures_can_be_played_and_trained(name: str, small_models: dict[str, Path], tmp_path: Path) -> None:
    checks = check_architecture(_folder(tmp_path, small_models["llama"], name, SUPPORTED[name]), plays=True)
    assert [(check.name, check.status) for check in checks] == [("playing", "ok"), ("training", "ok")]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_others_are_rejected_with_a_remedy(name: str, small_models: dict[str, Path], tmp_path: Path) -> None:
    changes, expected = UNSUPPORTED[name]
    checks = check_architecture(_folder(tmp_path, small_models["llama"], name, changes), plays=True)
    errors = [check for check in checks if check.status == "error"]
    assert {check.name for check in errors} == expected
    for check in errors:
        assert check.remedy
        assert "\n" not in check.line()
        assert "memory" not in check.line()
