"""The `vllm` engine, in this process (written for vLLM 0.32 and 0.33).

vLLM's scheduler batches the requests, and its prefix cache holds shared tokens. Invariant: one vLLM engine serves all rollouts
of the process; each rollout loads the weights of its policy into it. Requests and results are token ids, never text. The engine is awake
during a rollout only, so that training has the GPU's memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.chat.load import load_chat_tokenizer
from agentevol.data.artifact_folder import digest_json
from agentevol.gpus import free_gpu_memory
from agentevol.models import max_context_length, model_digest
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, one_line_error

# vLLM reads these when it is imported. Within one process its scheduling depends on the requests alone, and so do the results.
_VLLM_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_current: VllmEngine | None = None


def get_vllm_engine(
    model_folder: Path,
    *,
    num_slots: int,
    context_length: int,
    options: Mapping[str, Any],
    template_kwargs: Mapping[str, Any] | None = None,
) -> VllmEngine:
    """The process's engine with the weights of this model; a new engine if its configuration differs. Raises EngineError."""
    global _current
    key = _configuration_key(model_folder, num_slots, context_length, options) + digest_json(dict(template_kwargs or {}))
    if _current is None or _current.configuration_key != key:
        if _current is not None:
            _current.shut_down()
        _current = None
        _current = VllmEngine(
            model_folder, num_slots=num_slots, context_length=context_length, options=options, template_kwargs=template_kwargs
        )
        _current.configuration_key = key
    else:
        _current.load_weights(model_folder)
    return _current


class VllmEngine:
    """Every request holds the whole conversation; vLLM computes only the part that its prefix cache lacks."""

    configuration_key: str

    def __init__(
        self,
        model_folder: Path,
        *,
        num_slots: int,
        context_length: int,
        options: Mapping[str, Any],
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in _VLLM_ENVIRONMENT.items():
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
        self._template_kwargs = template_kwargs
        self.chat = load_chat_tokenizer(model_folder, template_kwargs)
        model_limit = max_context_length(AutoConfig.from_pretrained(model_folder, local_files_only=True))
        self.num_slots, self.context_length = num_slots, min(context_length, model_limit or context_length)
        self.digest = model_digest(model_folder)
        self._open_requests: dict[str, GenerationRequest] = {}
        self._request_count = 0
        engine_args: dict[str, Any] = {
            "model": str(model_folder),
            "skip_tokenizer_init": True,  # requests and results are token ids
            "generation_config": "vllm",  # sampling parameters come from this project alone, not from the model's folder
            "load_format": "safetensors",
            "max_model_len": self.context_length,
            "max_num_seqs": num_slots,
            "enable_prefix_caching": True,
            "enable_sleep_mode": self._can_sleep,
            "disable_log_stats": True,
            **options,
        }
        free_gpu_memory()
        try:
            self._engine = vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**engine_args))
        except (TypeError, ValueError, RuntimeError, ImportError, AssertionError) as error:  # a missing kernel library, too
            raise EngineError(
                f"vLLM {vllm.__version__} did not start with {model_folder}: {one_line_error(error)};"
                " engine.options are its engine arguments"
            ) from error

    def load_weights(self, model_folder: Path) -> None:
        """Wake up with the weights of another model of the same configuration; the engine does not restart."""
        digest = model_digest(model_folder)
        changed = digest != self.digest
        if self._asleep:
            free_gpu_memory()
            self._engine.wake_up(["weights"])
        if changed:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(model_folder)})
            self.digest, self.chat = digest, load_chat_tokenizer(model_folder, self._template_kwargs)
        if self._asleep:
            self._engine.wake_up(["kv_cache"])
            self._asleep = False
        if changed:
            self._engine.reset_prefix_cache()  # it was computed with the previous weights

    def submit(self, request: GenerationRequest) -> None:
        self._request_count += 1
        request_id = str(self._request_count)
        params = self._vllm.SamplingParams(
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            seed=int(request.rng.integers(2**31)),
            stop_token_ids=sorted(self.chat.stop_token_ids),
            max_tokens=self._max_tokens(request),
            detokenize=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        self._open_requests[request_id] = request
        (prompt,) = self._engine.renderer.render_cmpl([self._vllm.inputs.TokensPrompt(prompt_token_ids=list(request.token_ids))])
        self._engine.add_request(request_id, prompt, params)

    def poll(self, timeout: float | None = None) -> list[GenerationResult]:
        """At least one step of vLLM, whatever `timeout` is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open_requests:
            try:
                outputs = self._engine.step()
            except RuntimeError as error:  # from torch: most often out of memory; the requests of the step are lost
                return self._fail_all(f"{one_line_error(error)}; where memory is short, lower engine.options.gpu_memory_utilization")
            results = [self._result(output) for output in outputs if output.finished and output.request_id in self._open_requests]
            if results or (deadline is not None and time.monotonic() >= deadline):
                return results
        return []

    def release(self, slot: int) -> None:
        request_ids = [request_id for request_id, request in self._open_requests.items() if request.slot == slot]
        self._engine.abort_request(request_ids)
        for request_id in request_ids:
            del self._open_requests[request_id]

    def close(self) -> None:
        """Abort all requests and free the GPU's memory; the engine stays for the next rollout."""
        self._engine.abort_request(list(self._open_requests))
        self._open_requests.clear()
        if self._can_sleep and not self._asleep:
            self._engine.sleep(level=1)  # moves the weights to the CPU's memory
            self._asleep = True

    def shut_down(self) -> None:
        """Free everything, before an engine of another configuration starts."""
        del self._engine
        free_gpu_memory()

    def _max_tokens(self, request: GenerationRequest) -> int:
        """The limit on new tokens: the request's, or what the context has left."""
        return min(request.max_new_tokens, self.context_length - len(request.token_ids) - 1)

    def _result(self, output: Any) -> GenerationResult:
        request, completion = self._open_requests.pop(output.request_id), output.outputs[0]
        token_ids = [int(token) for token in completion.token_ids]
        stopped = bool(token_ids) and token_ids[-1] in self.chat.stop_token_ids
        if completion.finish_reason not in ("stop", "length") or not token_ids:
            error = f"vLLM ended the request with {completion.finish_reason!r} after {len(token_ids)} tokens"
            return GenerationResult(request.slot, error=error)
        if not stopped and len(token_ids) < request.max_new_tokens:
            return GenerationResult(request.slot, truncation_reason=f"the context of {self.context_length} tokens is full")
        return GenerationResult(request.slot, self.chat.decode(token_ids), token_ids, stopped)

    def _fail_all(self, error: str) -> list[GenerationResult]:
        requests = list(self._open_requests.values())
        self._engine.abort_request(list(self._open_requests))
        self._open_requests.clear()
        return [GenerationResult(request.slot, error=error) for request in requests]


def _configuration_key(model_folder: Path, num_slots: int, context_length: int, options: Mapping[str, Any]) -> str:
    """Names all that a vLLM engine is built for; models that differ in their weights alone have the same key.

    The configuration is compared as transformers reads it: a base model of the hub often has the keys of an earlier version. Its eos token
    is left out, because requests name all tokens at which generation stops.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_folder, local_files_only=True).to_dict()
    for name in ("transformers_version", "_name_or_path", "eos_token_id"):
        config.pop(name, None)
    return digest_json({"config": config, "num_slots": num_slots, "context_length": context_length, "options": dict(options)})
