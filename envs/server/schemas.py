"""Requests and responses of the server, as OpenAPI describes them at /docs.

Invariant: the names of paths and fields are public; they stay as they are.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_TEXT_LENGTH = 100_000
_MAX_BATCH_SIZE = 1024


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateRequest(_Request):
    environment: str = Field(description="One of GET /environments", examples=["textcraft"])


class ResetRequest(_Request):
    item_id: str | None = Field(
        None, description="The instruction; without one, a training instruction is drawn", examples=["textcraft_31"], max_length=200
    )
    seed: int | None = Field(None, description="The seed for drawing an instruction", ge=0, lt=2**32)


class _ActionOrAnswer(_Request):
    action: str | None = Field(
        None, description="An action, parsed from the policy's text", examples=["inventory"], max_length=MAX_TEXT_LENGTH
    )
    answer: str | None = Field(None, description="Or the policy's whole text: Thought: ... Action: ...", max_length=MAX_TEXT_LENGTH)

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Self:
        if (self.action is None) == (self.answer is None):
            raise ValueError("give either action or answer")
        return self


class StepRequest(_ActionOrAnswer):
    turn: int | None = Field(None, description="The number of steps that the client has seen: makes it safe to send a step again", ge=0)


class BatchStep(StepRequest):
    session: str


class BatchRequest(_Request):
    steps: list[BatchStep] = Field(max_length=_MAX_BATCH_SIZE)


class StepResponse(BaseModel):
    """The response of a session to a reset or a step."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    turn: int
    info: dict[str, Any]


class ErrorResponse(BaseModel):
    """Why a request failed. `kind`, for programs: request, session, item, environment, full, missing, fault or token."""

    error: str
    kind: str


class BatchError(ErrorResponse):
    """A step of a batch that failed, with the status that a single step would have had."""

    status: int


class CreateResponse(BaseModel):
    session: str
    environment: str


class EnvironmentCard(BaseModel):
    name: str
    version: int
    prompt: str
    task_types: list[str]
    max_rounds: int
    lowest_reward: float
    highest_reward: float
    instructions: int
    eval: int
    agent_traj: int
    agent_traj_l: int
    missing: str | None = Field(description="What must be installed on the server before it can be played there")


class InstructionResponse(BaseModel):
    item_id: str
    task_type: str
    difficulty: str
    text: str


class Health(BaseModel):
    status: str
    sessions: int
    cap: int
    hung: int = Field(description="Calls that took too long so far")


class Action(_ActionOrAnswer):
    """An OpenEnv client's action."""

    metadata: dict[str, Any] = Field(default_factory=dict, description="Not read")


class OpenEnvReset(ResetRequest):
    """An OpenEnv client's reset. Unknown fields are ignored, as OpenEnv's own servers do."""

    model_config = ConfigDict(extra="ignore")

    episode_id: str | None = Field(None, description="A name for the episode, part of its state", max_length=255)
