"""What is sent and answered, as OpenAPI describes it at /docs."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST = 100_000
_MOST_AT_ONCE = 1024


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Create(_Body):
    environment: str = Field(description="One of GET /environments", examples=["textcraft"])


class Reset(_Body):
    item_id: str | None = Field(
        None, description="The instruction; without one, a training instruction is drawn", examples=["textcraft_31"], max_length=200
    )
    seed: int | None = Field(None, description="For the drawing", ge=0, lt=2**32)


class _Either(_Body):
    action: str | None = Field(None, description="An action, taken out of the policy's text", examples=["inventory"], max_length=LONGEST)
    answer: str | None = Field(None, description="Or the policy's whole text: Thought: ... Action: ...", max_length=LONGEST)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.action is None) == (self.answer is None):
            raise ValueError("give either action or answer")
        return self


class Step(_Either):
    turn: int | None = Field(None, description="How many steps the client has seen: makes sending a step again safe", ge=0)


class OneOf(Step):
    session: str


class Batch(_Body):
    steps: list[OneOf] = Field(max_length=_MOST_AT_ONCE)


class Begin(Reset):
    """An OpenEnv client's reset. Arguments that this environment does not have are passed over, as OpenEnv's own servers do."""

    model_config = ConfigDict(extra="ignore")

    episode_id: str | None = Field(None, description="A name for the episode, told back in its state", max_length=255)


class Action(_Either):
    """An OpenEnv client's action."""

    metadata: dict[str, Any] = Field(default_factory=dict, description="Not read")


class Said(BaseModel):
    """What a session says to a reset or a step."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    turn: int
    info: dict[str, Any]


class Refusal(BaseModel):
    """Why a request was not met. `kind`, for programs: request, session, item, environment, full, missing, fault or token."""

    error: str
    kind: str


class Failed(Refusal):
    """One step of many that was not done: what a single one would have been answered with."""

    status: int


class Created(BaseModel):
    session: str
    environment: str


class Card(BaseModel):
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


class Item(BaseModel):
    item_id: str
    task_type: str
    difficulty: str
    text: str


class Health(BaseModel):
    status: str
    sessions: int
    cap: int
    hung: int = Field(description="Steps that were given up so far")
