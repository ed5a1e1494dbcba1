"""The manifests, of kustomize and of the chart: valid for Kubernetes, and true of the program they start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.routing import Route

from cluster.node.admin.app import admin_app
from cluster.node.config import NodeConfig, NodeSection
from tests.deploy.manifests import (
    BASE,
    CHART_SECRETS,
    MONITORING,
    Manifest,
    chart,
    configuration,
    container,
    kustomize,
    one,
    pod_names,
    pod_spec,
)

OLDEST, NEWEST = "1.27", "1.37"
KINDS_OF_OPERATORS = {"ServiceMonitor"}
SECRET = {"cluster-secret": "s3cret", "default-user": "admin", "default-password": "pw"}
DEFAULTS = NodeConfig(node=NodeSection(name="n", data_dir="/d"))
MARGIN_SECONDS = 10
HASH_OF_CONFIG = "cluster-mq/config"
LABELS_OF_HELM = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}


@pytest.fixture(scope="module", params=["kustomize", "chart"])
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return kustomize(BASE) if request.param == "kustomize" else chart()


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid_for_kubernetes(objects: list[Manifest], version: str) -> None:
    for manifest in objects:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_example_secret_is_valid_and_has_every_key_that_pods_read(objects: list[Manifest]) -> None:
    example = yaml.safe_load((BASE / "secret.example.yaml").read_text())
    kubernetes_validate.validate(example, NEWEST, strict=True)
    references = [entry["valueFrom"]["secretKeyRef"] for entry in container(objects)["env"] if _is_secret(entry)]
    volume = next(v["secret"] for v in pod_spec(objects)["volumes"] if v["name"] == "secret")
    assert {r["key"] for r in references} | {item["key"] for item in volume["items"]} == set(example["stringData"])
    assert {r["name"] for r in references} | {volume["secretName"]} == {example["metadata"]["name"]}


def test_the_pod_that_recovers_has_the_volume_and_the_rights_of_a_node_and_accepts_no_loss_by_itself() -> None:
    pod = yaml.safe_load((BASE / "recover.yaml").read_text())
    kubernetes_validate.validate(pod, NEWEST, strict=True)
    objects = kustomize(BASE)
    (made,) = pod["spec"]["containers"]
    assert made["command"][:2] == ["clusterd", "recover"]
    assert "--accept-loss" not in made["command"]
    assert made["command"][-1] == made["volumeMounts"][0]["mountPath"]
    assert made["volumeMounts"][0] in container(objects)["volumeMounts"]
    assert made["securityContext"] == container(objects)["securityContext"]
    assert pod["spec"]["securityContext"] == pod_spec(objects)["securityContext"]
    claims = {f"data-{name}" for name in pod_names(objects)}
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] in claims


def test_every_pod_is_a_configured_member_of_the_same_cluster(objects: list[Manifest], tmp_path: Path) -> None:
    names = pod_names(objects)
    configs = [configuration(objects, name, SECRET, tmp_path) for name in names]
    assert [config.node.name for config in configs] == names
    assert len({tuple(map(str, config.members)) for config in configs}) == 1
    assert [member.name for member in configs[0].members] == names
    assert [config.is_founder for config in configs] == [True, False, False]
    assert configs[0].secret_bytes == SECRET["cluster-secret"].encode()
    assert not configs[0].auth.loopback_only


def test_members_are_found_by_the_names_that_the_headless_service_gives(
    objects: list[Manifest], tmp_path: Path
) -> None:
    service = one(objects, "Service", one(objects, "StatefulSet")["spec"]["serviceName"])
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    for member in config.members:
        assert member.host == f"{member.name}.{service['metadata']['name']}"
        assert member.port == config.peer.port


def test_ports_are_those_that_the_program_listens_on(objects: list[Manifest], tmp_path: Path) -> None:
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    assert ports == {"amqp": config.amqp.port, "http": config.http.port, "peer": config.peer.port}
    for service in (o for o in objects if o["kind"] == "Service"):
        assert {p["targetPort"]: p["port"] for p in service["spec"]["ports"]}.items() <= ports.items()
    policy = one(objects, "NetworkPolicy")["spec"]
    assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == set(ports.values())
    assert {p["port"] for rule in policy["egress"] for p in rule["ports"]} == {53, config.peer.port}


def test_services_policy_and_budget_select_the_pods(objects: list[Manifest]) -> None:
    stateful = one(objects, "StatefulSet")["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    selectors = [stateful["selector"]["matchLabels"]]
    selectors += [o["spec"]["selector"] for o in objects if o["kind"] == "Service"]
    selectors.append(one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    selectors.append(one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    selectors += [c["labelSelector"]["matchLabels"] for c in stateful["template"]["spec"]["topologySpreadConstraints"]]
    assert all(selector == labels for selector in selectors)


def test_probes_ask_paths_that_the_program_answers(objects: list[Manifest]) -> None:
    served = {route.path for route in admin_app(None).routes if isinstance(route, Route)}  # type: ignore[arg-type]
    made = container(objects)
    probes = {name: made[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {probe["path"] for probe in probes.values()} <= served
    assert {probe["port"] for probe in probes.values()} == {"http"}


def test_the_grace_period_holds_what_is_done_before_the_stop_and_the_stop(
    objects: list[Manifest], tmp_path: Path
) -> None:
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    shell, flag, script = container(objects)["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, flag) == ("sh", "-c")
    steps = [step.strip() for step in script.split(";")]
    assert [re.sub(r"\d+", "N", step) for step in steps] == [
        "sleep N",
        "clusterctl await quorum-plus-one --timeout N",
        "clusterctl drain --wait --timeout N",
        "true",
    ]
    before = sum(int(seconds) for seconds in re.findall(r"\d+", script))
    needed = before + config.node.drain_timeout_seconds + MARGIN_SECONDS
    assert pod_spec(objects)["terminationGracePeriodSeconds"] >= needed


def test_only_the_volume_and_tmp_are_written_to_and_by_nobody_in_particular(
    objects: list[Manifest], tmp_path: Path
) -> None:
    spec, made = pod_spec(objects), container(objects)
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    context = spec["securityContext"]
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
    assert spec["automountServiceAccountToken"] is False
    writable = {m["name"]: m["mountPath"] for m in made["volumeMounts"] if not m.get("readOnly")}
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    assert writable == {"data": config.node.data_dir, "tmp": "/tmp"}
    claims = one(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert [claim["metadata"]["name"] for claim in claims] == ["data"]


def test_variables_that_kubernetes_makes_for_services_stay_out_of_the_pods(objects: list[Manifest]) -> None:
    """A Service `cluster-mq-a--b` would make CLUSTER_MQ_A__B_..., which the program refuses as a mistake."""
    assert pod_spec(objects)["enableServiceLinks"] is False


def test_pods_start_together_keep_their_volumes_and_go_one_by_one(objects: list[Manifest]) -> None:
    spec = one(objects, "StatefulSet")["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    keys = [c["topologyKey"] for c in spec["template"]["spec"]["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_the_chart_gives_the_same_objects_as_kustomize() -> None:
    flat = {(o["kind"], _plain_name(o)): _comparable(o) for o in kustomize(BASE)}
    of_chart = {(o["kind"], _plain_name(o)): _comparable(o) for o in chart() if o["kind"] != "Secret"}
    assert of_chart.keys() == flat.keys()
    for key in flat.keys() - {("ConfigMap", "cluster-mq")}:
        assert of_chart[key] == flat[key], key


def test_the_chart_configures_nodes_as_kustomize_does(tmp_path: Path) -> None:
    made = [configuration(objects, "cluster-mq-0", SECRET, tmp_path) for objects in (kustomize(BASE), chart())]
    assert made[0] == made[1]


@pytest.mark.parametrize("source", ["overlay", "chart"])
def test_the_monitor_finds_the_port_that_serves_metrics(source: str) -> None:
    """ServiceMonitor is of the Prometheus operator: its schema is not among Kubernetes' own."""
    values = CHART_SECRETS | {"serviceMonitor": {"enabled": True}}
    objects = kustomize(MONITORING) if source == "overlay" else chart(values)
    for manifest in (o for o in objects if o["kind"] not in KINDS_OF_OPERATORS):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)
    spec = one(objects, "ServiceMonitor")["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    services = [o for o in objects if o["kind"] == "Service" and wanted <= o["metadata"]["labels"].items()]
    assert [service["spec"]["clusterIP"] for service in services] == ["None"]
    ports = {port["name"]: port["port"] for port in services[0]["spec"]["ports"]}
    (endpoint,) = spec["endpoints"]
    assert ports[endpoint["port"]] == DEFAULTS.http.port
    assert endpoint["path"] in {r.path for r in admin_app(None).routes if isinstance(r, Route)}  # type: ignore[arg-type]


def _is_secret(entry: Manifest) -> bool:
    return "secretKeyRef" in entry.get("valueFrom", {})


def _plain_name(manifest: Manifest) -> str:
    name: str = manifest["metadata"]["name"]
    return "cluster-mq" if manifest["kind"] == "ConfigMap" else name


def _comparable(value: Any) -> Any:
    """Without what Helm and kustomize each add: labels of a release, hashes of the configuration, order of keys."""
    if isinstance(value, dict):
        kept = {key: _comparable(part) for key, part in value.items() if key not in LABELS_OF_HELM | {HASH_OF_CONFIG}}
        if "configMap" in kept:
            kept["configMap"] = None
        if kept.get("annotations") == {}:
            del kept["annotations"]
        return kept
    if isinstance(value, list):
        return [_comparable(part) for part in value]
    return value
