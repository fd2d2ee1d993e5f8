"""vLLM in this process (written for vLLM 0.32 and 0.33): its scheduler batches the turns, its paged cache keeps what conversations share.

Invariant: one vLLM engine stays from one rollout to the next and is given the weights of the policy that plays; token ids go in and come
out, never text. It is woken for a rollout and put to sleep afterwards, so that on a GPU learning has the memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.artifact_folder import digest_json
from agentevol.models import load_tokenizer, model_digest
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, one_line_error

# Read when vLLM is imported. In one process the scheduling depends on the work alone, and so do the answers.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_kept: VllmEngine | None = None


def vllm_engine(policy: Path, *, slots: int, context: int, options: Mapping[str, Any]) -> VllmEngine:
    """The engine for a policy: the one that is there, with other weights where these differ, or a new one. Raises EngineError."""
    global _kept
    shape = _shape(policy, slots, context, options)
    if _kept is None or _kept.shape != shape:
        if _kept is not None:
            _kept.end()
        _kept = None
        _kept = VllmEngine(policy, slots=slots, context=context, options=options)
    else:
        _kept.load(policy)
    return _kept


class VllmEngine:
    """Every turn is a request of the whole conversation; what vLLM has of it in its prefix cache is not computed again."""

    def __init__(self, policy: Path, *, slots: int, context: int, options: Mapping[str, Any]) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import vllm
        except ImportError as error:
            raise EngineError(f"engine.kind vllm: vLLM cannot be loaded ({one_line_error(error)}); see docs/how-to/engines.md") from None
        from transformers import AutoConfig
        from vllm.platforms import current_platform

        self._vllm = vllm
        self._can_sleep = bool(current_platform.is_cuda())
        self._asleep = False
        self.shape = _shape(policy, slots, context, options)
        self.chat = ChatTokenizer(load_tokenizer(policy))
        longest = getattr(AutoConfig.from_pretrained(policy, local_files_only=True), "max_position_embeddings", None)
        self.slots, self.context = slots, min(context, int(longest or context))
        self.digest = model_digest(policy)
        self._asked: dict[str, GenerationRequest] = {}
        self._numbers = 0
        given: dict[str, Any] = {
            "model": str(policy),
            "skip_tokenizer_init": True,  # it reads and writes tokens
            "generation_config": "vllm",  # how tokens are drawn is this project's to say
            "load_format": "safetensors",
            "max_model_len": self.context,
            "max_num_seqs": slots,
            "enable_prefix_caching": True,
            "enable_sleep_mode": self._can_sleep,
            "disable_log_stats": True,
            **options,
        }
        _free_memory()
        try:
            self._engine = vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**given))
        except (TypeError, ValueError, RuntimeError) as error:
            raise EngineError(
                f"vLLM {vllm.__version__} did not start with {policy}: {one_line_error(error)}; engine.options are its engine arguments"
            ) from error

    def load(self, policy: Path) -> None:
        """Wake up with the weights of `policy`, a model of the same shape; nothing is started anew."""
        digest = model_digest(policy)
        other = digest != self.digest
        if self._asleep:
            _free_memory()
            self._engine.wake_up(["weights"])
        if other:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(policy)})
            self.digest, self.chat = digest, ChatTokenizer(load_tokenizer(policy))
        if self._asleep:
            self._engine.wake_up(["kv_cache"])
            self._asleep = False
        if other:
            self._engine.reset_prefix_cache()  # what was computed with the weights of before

    def submit(self, turn: GenerationRequest) -> None:
        self._numbers += 1
        name = str(self._numbers)
        how = self._vllm.SamplingParams(
            temperature=turn.sampling.temperature,
            top_p=turn.sampling.top_p,
            seed=int(turn.stream.integers(2**31)),
            stop_token_ids=sorted(self.chat.stop_token_ids),
            max_tokens=self._most(turn),
            detokenize=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        self._asked[name] = turn
        (prompt,) = self._engine.renderer.render_cmpl([self._vllm.inputs.TokensPrompt(prompt_token_ids=list(turn.ids))])
        self._engine.add_request(name, prompt, how)

    def poll(self) -> list[GenerationResult]:
        while self._asked:
            try:
                outputs = self._engine.step()
            except RuntimeError as error:  # torch's: out of memory, most often; the requests of the step are lost with it
                return self._all_faults(f"{one_line_error(error)}; where memory is short, lower engine.options.gpu_memory_utilization")
            done = [self._read(output) for output in outputs if output.finished and output.request_id in self._asked]
            if done:
                return done
        return []

    def release(self, slot: int) -> None:
        names = [name for name, turn in self._asked.items() if turn.slot == slot]
        self._engine.abort_request(names)
        for name in names:
            del self._asked[name]

    def close(self) -> None:
        """Leave nothing in the queue, and the memory to others; the engine stays for the next rollout."""
        self._engine.abort_request(list(self._asked))
        self._asked.clear()
        if self._can_sleep and not self._asleep:
            self._engine.sleep(level=1)  # the weights wait in the processor's memory
            self._asleep = True

    def end(self) -> None:
        """Let go of everything, for an engine of another shape."""
        del self._engine
        _free_memory()

    def _most(self, turn: GenerationRequest) -> int:
        """Tokens that may be said: the limit, or what the context leaves."""
        return min(turn.limit, self.context - len(turn.ids) - 1)

    def _read(self, output: Any) -> GenerationResult:
        turn, said = self._asked.pop(output.request_id), output.outputs[0]
        ids = [int(token) for token in said.token_ids]
        ended = bool(ids) and ids[-1] in self.chat.stop_token_ids
        if said.finish_reason not in ("stop", "length") or not ids:
            return GenerationResult(turn.slot, fault=f"vLLM ended the request with {said.finish_reason!r} after {len(ids)} tokens")
        if not ended and len(ids) < turn.limit:
            return GenerationResult(turn.slot, cut=f"the context of {self.context} tokens is full")
        return GenerationResult(turn.slot, self.chat.decode(ids), ids, ended)

    def _all_faults(self, cause: str) -> list[GenerationResult]:
        turns = list(self._asked.values())
        self._engine.abort_request(list(self._asked))
        self._asked.clear()
        return [GenerationResult(turn.slot, fault=cause) for turn in turns]


def _free_memory() -> None:
    """Give back what learning has left in this process: vLLM asks for a share of the GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _shape(policy: Path, slots: int, context: int, options: Mapping[str, Any]) -> str:
    """What an engine is built for; models that differ in their weights alone have one."""
    config = json.loads((policy / "config.json").read_text(encoding="utf-8"))
    for name in ("transformers_version", "_name_or_path"):  # who has saved it
        config.pop(name, None)
    return digest_json({"config": config, "slots": slots, "context": context, "options": dict(options)})
