"""The Dockerfile, read: what it starts, as whom, and on which ports, agree with the manifests and the program."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from cluster.node.config import ConfigError, NodeConfig, NodeSection, load
from tests.deploy.manifests import BASE, CHART, ROOT, container, kustomize, pod_spec

DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
DEFAULTS = NodeConfig(node=NodeSection(name="n", data_dir="/d"))


def instructions(name: str) -> list[str]:
    """The arguments of every such instruction, with continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+?) *$", joined, flags=re.MULTILINE)


def test_the_image_starts_a_program_that_is_installed_with_a_file_that_is_mounted() -> None:
    (entry,) = instructions("ENTRYPOINT")
    command = json.loads(entry)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command[0] in scripts
    mounts = {mount["name"]: mount["mountPath"] for mount in container(kustomize(BASE))["volumeMounts"]}
    assert command[1:] == ["--config", f"{mounts['config']}/clusterd.toml"]
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load([command[1], "/nowhere/clusterd.toml"], {})


def test_pods_leave_the_command_to_the_image() -> None:
    assert not {"command", "args"} & container(kustomize(BASE)).keys()


def test_the_image_has_a_directory_of_its_own_for_the_data() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(kustomize(BASE))["volumeMounts"]}
    assert any(
        line.startswith("--from=build --chown=10001:10001") and line.endswith(f" {mounts['data']}")
        for line in instructions("COPY")
    )


def test_the_image_runs_as_the_user_that_the_pods_run_as() -> None:
    context = pod_spec(kustomize(BASE))["securityContext"]
    assert instructions("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]


def test_the_image_names_the_ports_of_the_program() -> None:
    (ports,) = instructions("EXPOSE")
    assert ports.split() == [str(port) for port in (DEFAULTS.amqp.port, DEFAULTS.http.port, DEFAULTS.peer.port)]


def test_the_base_image_is_an_argument() -> None:
    assert instructions("FROM") == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]
    assert instructions("ARG")[0].startswith("BASE_IMAGE=")


def test_image_manifests_chart_and_program_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container(kustomize(BASE))["image"] == f"cluster-mq:{version}"
    assert f'appVersion: "{version}"' in (CHART / "Chart.yaml").read_text()


def test_the_build_sees_the_program_and_no_data() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == {"cluster", "pyproject.toml", "build", "build/wheels"}
