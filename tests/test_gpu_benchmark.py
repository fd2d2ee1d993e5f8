"""`python -m benchmarks.gpu`: every cell runs with tiny sizes on this machine, and a call goes on where the last one stopped."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from agentevol.rollout.engine import EngineError
from agentevol.training.memory import GIB, ModelSize, estimate_training
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import cell, report, shapes, training


@pytest.mark.slow
def test_training_and_playing_are_measured_with_tiny_sizes(tmp_path: Path) -> None:
    figures = cell.measure("training-0.6", None, tmp_path, dry_run=True)["figures"]
    assert figures["packed"]
    assert min(figures[name] for name in ("tokens/s", "bare, tokens/s", "share of the matrix rate", "estimated memory, GiB")) > 0
    playing = cell.measure("playing-transformers", None, tmp_path, dry_run=True)["figures"]
    assert playing["times generate"] == pytest.approx(playing["new tokens/s"] / playing["generate, one at a time, new tokens/s"])


def test_a_step_of_the_largest_model_is_fitted_to_a_card_of_80_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    size = ModelSize.of(shapes.random_model(shapes.SHAPES["1.5"], torch.device("meta"), torch.float32))
    memory = estimate_training(size, bfloat16=True)
    assert training.fitting_tokens(memory, 16_384, torch.device("cpu")) == 16_384
    for gib, is_whole in ((79.1, False), (139.0, True)):
        card = types.SimpleNamespace(total_memory=int(gib * GIB))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, card=card: card)
        tokens = training.fitting_tokens(memory, 16_384, torch.device("cuda"))
        assert memory.total(tokens, tokens) < 0.91 * gib * GIB
        assert (tokens == 16_384) == is_whole


@pytest.mark.slow
def test_the_loop_scores_three_policies_and_does_nothing_twice(tmp_path: Path) -> None:
    from benchmarks.gpu import loop

    first = loop.measure(cell.BASE, tmp_path, dry_run=True)
    assert {"score zero-shot", "score BC", "score iteration 1"} <= first.keys()
    trained = (tmp_path / "iteration-1-model" / "config.json").stat().st_mtime_ns
    assert {**loop.measure(cell.BASE, tmp_path, dry_run=True), "all, s": 0} == {**first, "all, s": 0}
    assert (tmp_path / "iteration-1-model" / "config.json").stat().st_mtime_ns == trained
    assert cell.measure("loop", tmp_path / "none", tmp_path, dry_run=False) == {
        "skipped": True,
        "error": "not run: no model given (--model FOLDER)",
    }


def test_vllm_is_measured_against_its_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_fake_vllm(monkeypatch)
    figures = cell.measure("playing-vllm", None, tmp_path, dry_run=True)["figures"]
    assert figures["against bare"] == pytest.approx(figures["new tokens/s"] / figures["bare, new tokens/s"])


def test_vllm_that_lacks_a_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_fake_vllm(monkeypatch)

    def start(arguments: Any) -> None:
        raise ImportError("no module named flashinfer")

    monkeypatch.setattr(_FakeEngine, "from_engine_args", start)
    with pytest.raises(EngineError, match=r"vLLM 0 did not start with .*: ImportError: no module named flashinfer; engine.options"):
        cell.measure("playing-vllm", None, tmp_path, dry_run=True)


def test_a_call_continues_with_the_cells_that_have_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: dict[str, dict[str, Any]] = {"training-0.6": {"figures": {"tokens/s": 9.0}}, "playing-vllm": {"skipped": True, "error": "no"}}
    started: list[str] = []

    def run_cell(name: str, *_: object) -> dict[str, Any]:
        started.append(name)
        return outcomes.get(name, {"error": "out of memory"})

    monkeypatch.setattr(command, "_run_cell", run_cell)
    monkeypatch.setattr(command, "_device", lambda environment: "CPU")
    call = ["--out", str(tmp_path), "--cells", "training-0.6", "playing-vllm", "loop"]
    assert command.main(call) == 2
    assert "there is no GPU here: not run" in capsys.readouterr().out
    assert command.main([*call, "--dry-run"]) == 1
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"cell": "training-0.6", "dev')  # cut by a kill
    outcomes["loop"] = {"figures": {"score BC": "50.0 % [9, 91], n = 2"}}
    assert command.main([*call, "--dry-run"]) == 0
    assert started == ["training-0.6", "playing-vllm", "loop", "playing-vllm", "loop"]
    assert command.main([*call, "--dry-run", "--seconds", "1", "--again"]) == 1
    assert "no time left" in capsys.readouterr().out
    lines = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines() if text.endswith("}")]
    assert {line["device"] for line in lines} == {"CPU"}
    assert "| training-0.6 | – | not run: no time left" in (tmp_path / "results.md").read_text()


def test_the_table_names_goals_and_reasons() -> None:
    cells = {
        "training-0.6": {"figures": {"share of the matrix rate": 0.4123, "tokens/s": 12345.6}},
        "playing-vllm": {"error": "not run: vLLM is not installed"},
    }
    table = report.table(cells, ["training-0.6", "playing-vllm", "loop"])
    assert "| training-0.6 | share of the matrix rate | 0.412 (goal 0.4) |" in table
    assert "| training-0.6 | tokens/s | 12,346 |" in table
    assert "| playing-vllm | – | not run: vLLM is not installed |" in table
    assert "| loop | – | not run |" in table


def test_wheels_are_unpacked_without_an_installer(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "lamp-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("lamp/__init__.py", "LIT = True\n")
    command.unpack_wheels(tmp_path, tmp_path / "packages")
    assert (tmp_path / "packages" / "lamp" / "__init__.py").is_file()


class _Output:
    def __init__(self, request_id: str, token_ids: list[int]) -> None:
        self.request_id, self.finished = request_id, True
        self.outputs = [types.SimpleNamespace(token_ids=token_ids, finish_reason="length")]


class _FakeEngine:
    """The part of vLLM's engine that the product and the benchmark use; it answers with as many tokens as it may."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.renderer = types.SimpleNamespace(render_cmpl=lambda prompts: prompts)

    @classmethod
    def from_engine_args(cls, arguments: Any) -> _FakeEngine:
        assert arguments["max_model_len"] == 64
        return cls()

    def add_request(self, request_id: str, prompt: Any, params: Any) -> None:
        assert prompt["prompt_token_ids"]
        self.requests[request_id] = params["max_tokens"]

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)

    def step(self) -> list[_Output]:
        request_id, count = self.requests.popitem()
        return [_Output(request_id, [7] * count)]

    def abort_request(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self.requests.pop(request_id, None)

    def reset_prefix_cache(self) -> None:
        pass


def _install_fake_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm, platforms = types.ModuleType("vllm"), types.ModuleType("vllm.platforms")
    vllm.__spec__ = ModuleSpec("vllm", None)
    names = types.SimpleNamespace(RequestOutputKind=types.SimpleNamespace(FINAL_ONLY=2))
    vars(vllm).update(
        __version__="0",
        LLMEngine=_FakeEngine,
        EngineArgs=lambda **arguments: arguments,
        SamplingParams=lambda **params: params,
        sampling_params=names,
        inputs=types.SimpleNamespace(TokensPrompt=lambda **prompt: prompt),
    )
    vars(platforms)["current_platform"] = types.SimpleNamespace(is_cuda=lambda: False)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr("agentevol.rollout.engines.vllm._current", None)  # the engine of another test would be used again
