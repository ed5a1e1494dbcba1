"""The chart's values: what can be set reaches the program, and what cannot is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.node.config.sources import options, sections
from tests.deploy.manifests import CHART, CHART_SECRETS, chart, configuration, container, one, pod_names, pod_spec

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
