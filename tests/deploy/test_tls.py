"""The objects with TLS agree with the program, and the certificate names everybody who is dialled."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest

from tests.deploy.manifests import (
    CERT_MANAGER,
    CHART_SECRETS,
    Manifest,
    chart,
    configuration,
    container,
    kustomize,
    one,
    pod_names,
    pod_spec,
)
from tests.deploy.test_manifests import NEWEST, SECRET

VALUES = CHART_SECRETS | {"tls": {"enabled": True, "certManager": {"enabled": True, "issuer": {"name": "cluster-mq"}}}}


@pytest.fixture(params=["overlay", "chart"])
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return kustomize(CERT_MANAGER) if request.param == "overlay" else chart(VALUES)


def test_they_are_what_kubernetes_takes(objects: list[Manifest]) -> None:
    """Certificate is of cert-manager: its schema is not among Kubernetes' own."""
    for manifest in (o for o in objects if o["kind"] != "Certificate"):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_nodes_use_what_is_mounted_for_clients_operators_and_each_other(
    objects: list[Manifest], tmp_path: Path
) -> None:
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    assert (config.tls.cert, config.tls.key, config.tls.ca) == tuple(
        f"{mounts['tls']}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")
    )
    assert config.http.tls
    assert config.peer.tls
    ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    assert ports["amqps"] == config.amqp.tls_port
    service = one(objects, "Service", "cluster-mq")["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == {
        "amqp": config.amqp.port,
        "amqps": config.amqp.tls_port,
    }
    policy = one(objects, "NetworkPolicy")["spec"]
    assert {port["port"] for port in policy["ingress"][0]["ports"]} == {config.amqp.port, config.amqp.tls_port}


def test_a_running_cluster_gets_there_in_three_upgrades_of_which_neighbours_understand_each_other(
    tmp_path: Path,
) -> None:
    rounds = []
    for peers in ("plain", "both", "sealed"):
        objects = chart(CHART_SECRETS | {"tls": {"enabled": True, "peers": peers}})
        peer = configuration(objects, pod_names(objects)[0], SECRET, tmp_path).peer
        rounds.append((peer.tls, peer.tls_optional))
    assert rounds == [(False, True), (True, True), (True, False)]


def test_probes_and_clusterctl_ask_over_https(objects: list[Manifest]) -> None:
    made = container(objects)
    assert {made[name]["httpGet"]["scheme"] for name in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        "HTTPS"
    }
    environ = {entry["name"]: entry.get("value") for entry in made["env"]}
    assert environ["CLUSTERCTL_URL"] == "https://localhost:15672"
    assert environ["CLUSTERCTL_CA"] == environ["CLUSTER_MQ_TLS__CA"]


def test_the_certificate_is_for_everybody_who_is_dialled_and_lies_where_the_pods_look(
    objects: list[Manifest], tmp_path: Path
) -> None:
    certificate = one(objects, "Certificate")["spec"]
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    service = one(objects, "Service", "cluster-mq")["metadata"]["name"]
    assert {member.host for member in config.members} | {"localhost", service} == set(certificate["dnsNames"])
    assert set(certificate["usages"]) == {"server auth", "client auth"}
    volume = next(v["secret"] for v in pod_spec(objects)["volumes"] if v["name"] == "tls")
    assert volume["secretName"] == certificate["secretName"]


def test_prometheus_scrapes_over_https() -> None:
    objects = chart(VALUES | {"serviceMonitor": {"enabled": True}})
    (endpoint,) = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["serverName"] in one(objects, "Certificate")["spec"]["dnsNames"]
