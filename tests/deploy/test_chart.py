"""The chart's values: what can be set reaches the program, and what cannot is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cluster.clusterctl.main import _parser
from cluster.clusterctl.scaling import nodes_scale
from cluster.node.config.sources import options, sections
from tests.deploy.manifests import CHART, CHART_SECRETS, chart, configuration, container, one, pod_names, pod_spec
from tests.deploy.test_manifests import NEWEST

helm = pytest.importorskip("helm_python", reason="Helm's engine (helm-python-sdk) has no wheel for this machine")
SECRET = {"cluster-secret": "s", "default-user": "admin", "default-password": "pw"}


def test_the_chart_lints_without_a_warning() -> None:
    report = helm.chart.lint(CHART, CHART_SECRETS, strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_every_default_value_is_in_the_schema_and_the_other_way_round() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, table in values.items():
        known = schema["properties"][name].get("properties")
        if known is not None and name != "config":
            assert set(known) == set(table), name


def test_the_tables_and_the_refused_options_of_the_schema_exist_in_the_program() -> None:
    tables = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
    assert set(tables) <= set(sections())
    for table, schema in tables.items():
        assert {f"{table}.{option}" for option in schema.get("properties", ())} <= set(options())


def test_another_release_is_another_cluster_of_as_many_as_wanted(tmp_path: Path) -> None:
    objects = chart(CHART_SECRETS | {"replicas": 5, "clusterName": "orders"}, release="orders")
    names = pod_names(objects)
    assert names == [f"orders-cluster-mq-{n}" for n in range(5)]
    config = configuration(objects, names[4], SECRET, tmp_path)
    assert [member.name for member in config.members] == names
    assert config.members[0].host == "orders-cluster-mq-0.orders-cluster-mq-peers"
    assert config.cluster.name == "orders"


def test_options_of_the_node_reach_it(tmp_path: Path) -> None:
    wanted = {
        "amqp": {"heartbeat_seconds": 30, "message_size_max": "1MiB"},
        "cluster": {"shards": 16},
        "raft": {"tick_seconds": 0.1},
        "log": {"format": "logfmt"},
    }
    objects = chart(CHART_SECRETS | {"config": wanted, "drainTimeoutSeconds": 30})
    config = configuration(objects, pod_names(objects)[0], SECRET, tmp_path)
    assert (config.amqp.heartbeat_seconds, config.amqp.message_size_max) == (30, 1 << 20)
    assert (config.cluster.shards, config.raft.tick_seconds, config.log.format) == (16, 0.1, "logfmt")
    assert "drain --wait --timeout 30;" in str(container(objects)["lifecycle"]["preStop"])
    assert pod_spec(objects)["terminationGracePeriodSeconds"] == 90


def test_a_changed_configuration_changes_the_pods() -> None:
    def mark(config: dict[str, Any]) -> str:
        objects = chart(CHART_SECRETS | {"config": config})
        template = one(objects, "StatefulSet")["spec"]["template"]
        text: str = template["metadata"]["annotations"]["cluster-mq/config"]
        return text

    assert mark({}) == mark({})
    assert mark({}) != mark({"log": {"level": "debug"}})


def test_an_existing_secret_is_used_instead_of_one_of_the_chart() -> None:
    objects = chart({"existingSecret": "mine"})
    assert not [o for o in objects if o["kind"] == "Secret"]
    references = [e["valueFrom"]["secretKeyRef"] for e in container(objects)["env"] if "secretKeyRef" in str(e)]
    assert {reference["name"] for reference in references} == {"mine"}
    assert next(v for v in pod_spec(objects)["volumes"] if v["name"] == "secret")["secret"]["secretName"] == "mine"


def test_without_a_secret_nothing_is_rendered_and_the_text_says_what_is_missing() -> None:
    with pytest.raises(helm.HelmError, match=r"secret\.clusterSecret \(or existingSecret\) is needed"):
        chart({})


def test_parts_can_be_left_out_and_pods_be_placed() -> None:
    values = {
        "networkPolicy": {"enabled": False},
        "spread": {"hostname": "DoNotSchedule"},
        "nodeSelector": {"disk": "fast"},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "storage": {"size": "100Gi", "className": "fast"},
    }
    objects = chart(CHART_SECRETS | values)
    assert not [o for o in objects if o["kind"] in ("NetworkPolicy", "ServiceMonitor")]
    spec = pod_spec(objects)
    unsatisfiable = [c["whenUnsatisfiable"] for c in spec["topologySpreadConstraints"]]
    assert unsatisfiable == ["ScheduleAnyway", "DoNotSchedule"]
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert container(objects)["env"][-1] == {"name": "TZ", "value": "UTC"}
    claim = one(objects, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "100Gi")


def hook(values: dict[str, Any]) -> dict[str, Any]:
    objects = chart(CHART_SECRETS | {"scaleDown": {"hook": "always"}} | values)
    made = one(objects, "Job")
    kubernetes_validate.validate(made, NEWEST, strict=True)
    return made


def test_before_an_upgrade_to_fewer_nodes_those_that_are_too_many_hand_over() -> None:
    """Helm asks Kubernetes how many there are; where it cannot, it does nothing."""
    assert not [o for o in chart() if o["kind"] == "Job"]
    job = hook({"replicas": 3})
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade,pre-rollback"
    (made,) = job["spec"]["template"]["spec"]["containers"]
    asked = _parser().parse_args(made["command"][1:])
    assert (made["command"][0], asked.run, asked.count) == ("clusterctl", nodes_scale, 3)
    environ = {entry["name"]: entry.get("value") for entry in made["env"]}
    assert environ["CLUSTERCTL_URL"].split(",") == [f"http://cluster-mq-{n}.cluster-mq-peers:15672" for n in range(3)]
    nodes = one(chart(), "StatefulSet")["spec"]["selector"]["matchLabels"]
    assert not nodes.items() <= job["spec"]["template"]["metadata"]["labels"].items(), "no Service finds it"


def test_the_hand_over_believes_the_authority_of_the_nodes() -> None:
    job = hook({"tls": {"enabled": True}})
    (made,) = job["spec"]["template"]["spec"]["containers"]
    environ = {entry["name"]: entry.get("value") for entry in made["env"]}
    assert environ["CLUSTERCTL_URL"].startswith("https://cluster-mq-0.")
    assert environ["CLUSTERCTL_CA"].startswith(made["volumeMounts"][0]["mountPath"])


@pytest.mark.parametrize(
    "values",
    [
        {"replicaCount": 3},
        {"replicas": 0},
        {"image": {"repository": "x", "digest": "y"}},
        {"config": {"amqp": {"port": 5673}}},
        {"config": {"cluster": {"peers": []}}},
        {"config": {"cluster": {"secret": "in the open"}}},
        {"config": {"http": {"port": 1}}},
        {"storage": {"size": "ten"}},
    ],
    ids=str,
)
def test_values_that_the_chart_does_not_know_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        chart(CHART_SECRETS | values)
