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
        "A Ray cluster whose nodes play and train: auto (the cluster that this machine belongs to), host:6379, or ray://host:10001 from"
        " outside; null: this machine plays and trains.",
        effect="none",
    )
    folder: Annotated[Text, AfterValidator(_check_folder)] | None = parameter(
        None,
        "A local folder on every node for the results that it needs; nodes exchange results through store.url. null: all nodes see this"
        " project's folder at the same path.",
        effect="none",
    )
    finetune: bool = parameter(True, "Also train policies on the nodes; false: this machine trains.", effect="none", added_later=True)
    num_cpus: Count | None = parameter(
        None,
        "CPU cores for one chunk of a rollout, or for one process of a training; null: for a chunk rollout.num_workers (with one worker:"
        " model.num_threads), for a training its number of threads (model.num_threads).",
        effect="none",
    )
    num_gpus: Natural | None = parameter(
        None, "GPUs for one chunk, or for one process of a training; null: one if the cluster has any.", effect="none"
    )
