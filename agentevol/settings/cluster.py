"""The parameters of a cluster. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from agentevol.settings.types import Count, Natural, Section, Text, parameter


def _check_address(address: str) -> str:
    if "@" in address:
        raise ValueError("an address without a user or a password, e.g. ray://head:10001")
    return address


def _check_folder(folder: str) -> str:
    if not folder.startswith("/"):
        raise ValueError("an absolute path, which may differ from this project's")
    return folder


class ClusterParams(Section):
    """Where policies play and train, if not on this machine."""

    address: Annotated[Text, AfterValidator(_check_address)] | None = parameter(
        None,
        "A Ray cluster on whose nodes the run's policies play and train: auto (the one that this machine belongs to), host:6379, or"
        " ray://host:10001 from outside; null: this machine does.",
        effect="none",
    )
    folder: Annotated[Text, AfterValidator(_check_folder)] | None = parameter(
        None,
        "A folder of its own on every node, where it keeps the results that it needs; they travel through store.url. null: all nodes see"
        " this project's folder at the same path.",
        effect="none",
    )
    finetune: bool = parameter(True, "Train policies on the nodes, too; false: this machine trains.", effect="none", added_later=True)
    num_cpus: Count | None = parameter(
        None,
        "CPU cores for one chunk of a rollout, or for one process of a training; null: as many as rollout.num_workers (with one worker:"
        " model.num_threads), or as the threads of a training (model.num_threads).",
        effect="none",
    )
    num_gpus: Natural | None = parameter(
        None, "GPUs for one chunk, or for one process of a training; null: one if the cluster has any.", effect="none"
    )
