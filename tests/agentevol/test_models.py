"""The digest of a model covers all that determines its behaviour; an error about a missing model has the given name."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.models import ModelNotFound, model_digest, resolve_model


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.txt", "special_tokens_map.json", "chat_template.jinja", "a.safetensors"])
def test_the_digest_covers_weights_tokenizer_and_template(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("a card")
    before = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("another card")
    assert model_digest(tmp_path) == before
    (tmp_path / name).write_text("a")
    first = model_digest(tmp_path)
    (tmp_path / name).write_text("b")
    assert len({before, first, model_digest(tmp_path)}) == 3


def test_a_folder_without_a_model_and_an_unknown_name_are_reported_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match=r"is not a model folder \(no config.json\)"):
        resolve_model(tmp_path)
    with pytest.raises(ModelNotFound, match=r"^'nobody/nothing' is neither a model folder") as caught:
        resolve_model("nobody/nothing")
    assert "\n" not in str(caught.value)
