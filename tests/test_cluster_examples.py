"""The files of examples/kubernetes and examples/slurm: what can be checked without a Kubernetes cluster and without Slurm."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate import commands, parameters
from tests import ROOT

KUBERNETES, SLURM = ROOT / "examples" / "kubernetes", ROOT / "examples" / "slurm"
JOB_FIELDS = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus", "entrypointNumGpus",
    "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "suspend",
    "submissionMode", "submitterConfig", "submitterPodTemplate", "ttlSecondsAfterFinished",
}  # fmt: skip
CLUSTER_FIELDS = {
    "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "headServiceAnnotations", "rayVersion", "suspend", "workerGroupSpecs",
}  # fmt: skip
HEAD_FIELDS = {"enableIngress", "headService", "rayStartParams", "serviceType", "template"}
WORKER_FIELDS = {"groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas", "scaleStrategy", "template"}
"""The fields of KubeRay's API ray.io/v1."""


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    return {found["kind"]: found for found in yaml.safe_load_all((KUBERNETES / "rayjob.yaml").read_text(encoding="utf-8"))}


def test_the_manifest_has_the_fields_that_kuberay_knows(manifests: dict[str, dict[str, Any]]) -> None:
    job = manifests["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    assert set(job["spec"]) <= JOB_FIELDS
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) <= CLUSTER_FIELDS
    assert set(cluster["headGroupSpec"]) <= HEAD_FIELDS
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKER_FIELDS
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_pods_of_the_manifest_fit_together(manifests: dict[str, dict[str, Any]]) -> None:
    cluster = manifests["RayJob"]["spec"]["rayClusterSpec"]
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pods = [group["template"]["spec"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]
    [image] = {container["image"] for pod in pods for container in pod["containers"]}
    assert image.rpartition(":")[2] == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for pod in pods:
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            assert container["envFrom"] == [{"secretRef": {"name": "agentevol"}}]
            assert "env" not in container, "credentials come from the secret"
    claim = pods[0]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]


def test_the_entrypoint_of_the_manifest_is_a_command_with_existing_parameters(manifests: dict[str, dict[str, Any]]) -> None:
    program, flag, script = shlex.split(manifests["RayJob"]["spec"]["entrypoint"])
    assert (program, flag) == ("bash", "-c")
    subprocess.run(["bash", "-n", "-c", script], check=True)
    check_agentevol(script)
    assert "cluster.address=auto" in script


def test_the_container_is_installed_as_the_makefile_installs() -> None:
    text = (KUBERNETES / "Containerfile").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "python3.11 -m venv .venv" in text
    assert "PYTHON ?= python3.11" in makefile
    assert "scripts/install.py ." in makefile
    [extras] = re.findall(r"scripts/install\.py '\.\[([a-z0-9,]+)\]'", text)
    assert {"ray", "s3"} <= set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "-c constraints.txt 'ray[default]'" in text


@pytest.mark.parametrize("script", sorted(SLURM.glob("*.sbatch")), ids=lambda path: path.name)
def test_a_batch_script_is_valid_and_names_existing_parameters(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    check_agentevol(script.read_text(encoding="utf-8"))


def check_agentevol(script: str) -> None:
    used = [line for line in script.replace("\\\n", " ").splitlines() if re.search(r"(^|&& )agentevol ", line)]
    assert used
    for line in used:
        name = re.search(r"agentevol ([a-z]+)", line)
        assert name
        assert f"agentevol {name[1]}" in dict(commands.commands())
        keys = re.findall(r'-S "?([a-z_.]+)=', line)
        assert keys
        assert set(keys) <= parameters.keys()


SRUN = """#!/bin/bash
echo "srun $*" >> "$LOG"
[ -z "$SRUN_FAILS" ] || exit 1
case "$*" in *--head*) exec "$PYTHON" -c '
import os, signal, socket, sys
def stop(*_):
    print("head stopped", file=open(os.environ["LOG"], "a"))
    sys.exit()
signal.signal(signal.SIGTERM, stop)
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    server.accept()
';; esac
exec sleep 600
"""
STUBS = {
    "srun": SRUN,
    "hostname": '#!/bin/bash\n[ "$1" = --ip-address ] && echo 127.0.0.1 || echo node1\n',
    "agentevol": '#!/bin/bash\nuntil [ "$(grep -c ^srun "$LOG")" = 2 ]; do sleep 0.02; done\necho "agentevol $*" >> "$LOG"\nexit 3\n',
}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The variables of a Slurm job on three nodes, whose programs only say how they were called."""
    (tmp_path / "bin").mkdir()
    for name, text in STUBS.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    number = next(number for number in range(7000, 9000) if is_free(20000 + number))
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PORT": str(20000 + number),
        "LOG": str(tmp_path / "log"),
        "SRUN_FAILS": "",
        "SLURM_JOB_ID": str(number),
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_batch_script_starts_ray_on_every_node_and_stops_it_after_the_run(job: dict[str, str]) -> None:
    done = subprocess.run(["bash", SLURM / "evolve.sbatch", "-S", "seed=1"], env=job, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr  # that of the run
    lines = Path(job["LOG"]).read_text().splitlines()
    address = f"127.0.0.1:{job['PORT']}"
    assert lines == [
        "srun --nodes=1 --ntasks=1 --nodelist=node1 --overlap ray start --block --num-cpus=8 --head --node-ip-address=127.0.0.1"
        f" --port={job['PORT']} --include-dashboard=false",
        f"srun --nodes=2 --ntasks=2 --exclude=node1 ray start --block --num-cpus=8 --address={address}",
        f"agentevol evolve -S cluster.address={address} -S seed=1",
        "head stopped",
    ]


def test_the_batch_script_says_that_the_head_did_not_start(job: dict[str, str]) -> None:
    done = subprocess.run(["bash", SLURM / "evolve.sbatch"], env={**job, "SRUN_FAILS": "1"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Ray's head did not start" in done.stderr
    assert "agentevol" not in Path(job["LOG"]).read_text()
