"""The parameters of the datasets: where they are, and how much of each split a run uses.

Invariant: imports nothing but pydantic, so that the command line starts quickly.
"""

from __future__ import annotations

from agentevol.settings.types import Count, Natural, Section, Text, parameter


class Limits(Section):
    """At most this many instructions per environment, taken from the front of each split's fixed order; null takes all."""

    train: Count | None = parameter(None, "AgentTraj: the expert trajectories that behavioural cloning learns from.")
    train_large: Count | None = parameter(None, "AgentTraj-L: the expert trajectories that BC-Large learns from.")
    explore: Count | None = parameter(None, "The instructions that every iteration explores.")
    validation: Natural | None = parameter(
        100,
        "The validation split: training instructions that the splits above do not use. It selects the best iteration, and decides on early"
        " stopping and the champion. 0: no split; the last iteration is reported.",
    )
    eval: Count | None = parameter(None, "AgentEval: the benchmark instructions.")


class DataParams(Section):
    """Where the datasets are, and how much of them a run uses."""

    folder: Text = parameter("data", "The folder with the expert sets and instruction lists.", effect="none")
    limits: Limits = parameter(Limits(), "At most this many instructions per environment in each split; null: all.")
    extra: list[Text] = parameter(
        [],
        "Folders with additional trajectories (`agentevol data import`), e.g. [imported/agentinstruct]. Policies learn from them together"
        " with AgentTraj and AgentTraj-L.",
        added_later=True,
    )
