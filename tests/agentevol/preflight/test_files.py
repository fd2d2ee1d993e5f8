"""Preflight of a model's files, vocabulary, chat template, memory and learning rate: each fault is one line with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.models import ModelNotFound, load_model, load_tokenizer
from agentevol.preflight import resources
from agentevol.preflight.chat import check_chat
from agentevol.preflight.check import Check, PreflightFailed, raise_if_failed
from agentevol.preflight.files import check_files, check_vocabulary, read_size
from agentevol.preflight.model import check_model, check_run
from agentevol.preflight.weights import check_weights
from agentevol.settings.schema import Params
from agentevol.training.memory import ModelSize

BASE = Path("models/base")
BILLION = ModelSize(
    parameters=10**9,
    trained_parameters=10**9,
    layers=16,
    width=2048,
    mlp_width=8192,
    query_width=2048,
    key_width=512,
    vocabulary=32_000,
)

SEVEN_BILLION = ModelSize(6_738_415_616, 6_738_415_616, 32, 4096, 11_008, 4096, 4096, 32_000)


@pytest.fixture
def sharded(small_models: dict[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "sharded"
    load_model(small_models["llama"]).save_pretrained(folder, max_shard_size="20KB")
    load_tokenizer(small_models["llama"]).save_pretrained(folder)
    return folder


def test_the_embedded_model_passes_all_checks() -> None:
    checks, chat_format = check_model(BASE, engine="transformers")
    assert {check.status for check in checks} == {"ok"}
    assert {"weights", "vocabulary", "end of an answer", "chat template", "playing", "training"} == {check.name for check in checks}
    assert chat_format is None
    assert check_run(BASE, Params())[1].status == "ok"  # its learning rate


def test_the_size_is_read_without_loading_the_weights(sharded: Path) -> None:
    assert read_size(BASE) == ModelSize.of(load_model(BASE))
    size = read_size(sharded)
    save_file({"layers.0.wq.weight": torch.zeros(8, 8)}, sharded / "consolidated.safetensors")
    assert read_size(sharded) == size, "Mistral's folders hold the weights a second time, in another library's format"
    (sharded / "model.safetensors.index.json").unlink()
    for file in sharded.glob("model-*.safetensors"):
        file.unlink()
    assert check_files(sharded)[0].detail == "no model.safetensors, only consolidated.safetensors"


@pytest.mark.parametrize("weight", [None, torch.zeros(7, 32)])
def test_a_weight_that_the_files_lack_is_named(weight: torch.Tensor | None, small_models: dict[str, Path], tmp_path: Path) -> None:
    """An embedding model or a classifier has no output layer: transformers would create a random one, another at each loading."""
    folder = shutil.copytree(small_models["llama"], tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    changed = weights if weight is None else {**weights, "lm_head.weight": weight}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    checks, _ = check_model(folder, engine="transformers")
    problem = "the files lack weights of LlamaForCausalLM, or have them in another shape: lm_head.weight"
    assert [(check.name, check.detail) for check in checks if check.status != "ok"] == [("weights", problem)]
    with pytest.raises(ModelNotFound, match=problem + "; take a causal language model") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_compared_with_the_architecture_are_a_question(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    (check,) = check_weights(tmp_path)
    assert check.status == "question"
    assert "\n" not in check.line()


def test_a_missing_or_truncated_file_is_named(sharded: Path) -> None:
    files = sorted(sharded.glob("*.safetensors"))
    assert check_files(sharded)[0].status == "ok"
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-1])
    assert files[0].name in check_files(sharded)[0].detail
    files[0].unlink()
    (check,) = check_files(sharded)
    assert (check.status, check.detail) == ("error", f"1 of {len(files)} files are missing ({files[0].name})")
    assert "download the model again" in check.remedy
    checks, _ = check_model(sharded, engine="transformers")  # the other checks would need the weights
    with pytest.raises(PreflightFailed, match=r"^name: weights: 1 of \d+ files are missing \(.*\); download") as caught:
        raise_if_failed("name", checks)
    assert "\n" not in str(caught.value)


def test_quantized_weights_and_other_formats_are_rejected(small_models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(small_models["llama"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    assert check_files(folder)[0].detail == "quantized with gptq"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert check_files(folder)[0].detail == "no *.safetensors file"


def test_a_tokenizer_larger_than_the_embedding_is_rejected(small_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(small_models["llama"])
    rows = read_size(small_models["llama"]).vocabulary
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    check = check_vocabulary(small_models["llama"], ChatTokenizer(tokenizer))
    assert check.status == "ok", "as with Gemma 3: nothing that is played or trained has this token"
    assert check.detail == f"{rows + 1} tokens, {rows} rows in the embedding; 1 control tokens without a row, which no conversation has"
    tokenizer.add_tokens(["<|new|>"])
    check = check_vocabulary(small_models["llama"], ChatTokenizer(tokenizer))
    assert check.status == "error"
    assert check.detail == f"the tokenizer has tokens up to id {rows + 1}, the embedding {rows} rows"
    tokenizer = load_tokenizer(small_models["llama"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = f"{{{{ '<turn>' }}}}{tokenizer.chat_template}"
    assert check_vocabulary(small_models["llama"], ChatTokenizer(tokenizer)).status == "error", "the template writes it"


def test_a_template_without_a_generation_prompt_is_questioned_and_rejected_for_a_server(
    small_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(small_models["qwen"], tmp_path / "model")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    )
    for uses_server, status in ((False, "question"), (True, "error")):
        checks, chat_format = check_chat(folder, None, uses_server=uses_server)
        assert checks[-1].status == status
        assert "opens an answer in another way" in checks[-1].detail
        assert chat_format is not None
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] }}{% endfor %}")
    (check,), _ = check_chat(folder, None, uses_server=False)
    assert check.status == "error"
    (folder / "tokenizer.json").write_text("{}")
    (check,), _ = check_chat(folder, None, uses_server=False)
    assert (check.name, check.status) == ("tokenizer", "error")


def test_the_default_learning_rate_is_questioned_for_a_large_model() -> None:
    def status(size: ModelSize, **finetune: object) -> str:
        params = Params.model_validate({"finetune": finetune})
        return resources.check_learning_rate(size, params).status

    assert status(BILLION) == "question"
    assert status(read_size(BASE)) == "ok"
    assert status(BILLION, learning_rate=2e-5, epochs=2.0) == "ok"
    assert status(BILLION, learning_rate=2e-5) == "question"  # eight epochs
    assert status(BILLION, learning_rate=2e-4, epochs=2.0) == "question"
    assert status(BILLION, learning_rate=2e-4, epochs=2.0, lora_rank=8) == "ok"
    assert "1e-5 to 5e-5" in resources.check_learning_rate(BILLION, Params()).remedy


def test_memory_is_compared_with_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(total: float, free: float, **finetune: object) -> Check:
        monkeypatch.setattr(resources, "available_memory", lambda: ("CPU", int(total * 2**30), int(free * 2**30)))
        params = Params.model_validate({"finetune": {"precision": "float32", **finetune}})
        return resources.check_memory(BILLION, params, plays=True, trains=True)

    assert check(64, 60).status == "ok"
    assert check(64, 10).status == "question"
    assert check(8, 8).status == "error"  # 16 bytes for each weight
    assert check(8, 8, lora_rank=8).status == "question"
    assert "8.0 of 8.0 GiB free (CPU)" in check(8, 8).detail
    needs = [
        float(check(64, 60, **finetune).detail.split("training about ")[1].split()[0])
        for finetune in ({}, {"gradient_checkpointing": True})
    ]
    assert needs[1] < needs[0], "checkpointing saves memory"


def test_memory_on_gpus_is_that_of_one_process_and_of_the_micro_batches_that_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def check(kind: str, processes: int, device: str = "GPU", context: int = 1280, **finetune: object) -> Check:
        monkeypatch.setattr(resources, "available_memory", lambda: (device, 80 << 30, 79 << 30))
        file = tmp_path / f"{kind}-{processes}.yaml"
        file.write_text(f"distributed_type: {kind}\nnum_processes: {processes}\n")
        settings = {"precision": "bfloat16", "batch_tokens": 1 << 20, "max_tokens": context, "accelerate_config": str(file), **finetune}
        longest = {"rollout": {"context_length": context}, "gate": {"max_tokens": context}}
        params = Params.model_validate({"finetune": settings, **longest})
        return resources.check_memory(SEVEN_BILLION, params, plays=False, trains=True)

    assert check("FSDP", 8).status == "ok", "micro-batches are fitted to the memory, however large a step is"
    assert check("MULTI_GPU", 8).status == "error", "each process holds 113 GiB"
    assert check("MULTI_GPU", 8, lora_rank=8).status == "ok"
    assert check("MULTI_GPU", 8, lora_rank=8, micro_batch_tokens=1 << 16).status == "question"
    assert check("MULTI_GPU", 8, lora_rank=8, context=1 << 16).status == "question", "one trajectory of this length does not fit"
    assert check("MULTI_CPU", 2, device="CPU", lora_rank=8, batch_tokens=1024).status == "ok"
    assert check("MULTI_CPU", 8, device="CPU", lora_rank=8, batch_tokens=1024).status == "error", "8 processes share the memory"
