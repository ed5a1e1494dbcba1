"""Configuration: precedence of the sources, one line for each mistake, and the example file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.node.config import ConfigError, NodeConfig, NodeSection, load
from cluster.node.config.memory import available_memory
from cluster.node.config.sources import environment_name, flag_name, options

EXAMPLE = Path(__file__).parents[3] / "deploy" / "clusterd.example.toml"
MINIMAL = '[node]\nname = "mq-0"\ndata_dir = "/data"\n'


def given(tmp_path: Path, text: str, environ: dict[str, str] | None = None, *flags: str) -> NodeConfig:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return load(["--config", str(path), *flags], environ or {})


def mistakes(tmp_path: Path, text: str, environ: dict[str, str] | None = None, *flags: str) -> list[str]:
    """The lines, with the file's path shortened to its name."""
    with pytest.raises(ConfigError) as caught:
        given(tmp_path, text, environ, *flags)
    assert all("\n" not in line for line in caught.value.problems)
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.problems]


def test_defaults_need_only_a_name_and_a_directory(tmp_path: Path) -> None:
    config = given(tmp_path, MINIMAL)
    assert config == NodeConfig(node=NodeSection(name="mq-0", data_dir="/data"))
    assert (config.amqp.port, config.cluster.shards, config.auth.loopback_only) == (5672, 8, True)


def test_environment_wins_over_the_file_and_a_flag_over_both(tmp_path: Path) -> None:
    text = MINIMAL + "[amqp]\nport = 1\nheartbeat_seconds = 1\nchannel_max = 1\n"
    environ = {"CLUSTER_MQ_AMQP__HEARTBEAT_SECONDS": "2", "CLUSTER_MQ_AMQP__CHANNEL_MAX": "2"}
    config = given(tmp_path, text, environ, "--amqp-channel-max", "3")
    assert (config.amqp.port, config.amqp.heartbeat_seconds, config.amqp.channel_max) == (1, 2, 3)


def test_a_node_can_be_configured_without_a_file() -> None:
    config = load(["--node-name", "mq-0"], {"CLUSTER_MQ_NODE__DATA_DIR": "/data"})
    assert (config.node.name, config.data_dir) == ("mq-0", Path("/data"))


@pytest.mark.parametrize(
    ("text", "size"),
    [('"64MiB"', 64 << 20), ('"1.5 MiB"', 3 << 19), ("4194304", 4 << 20), ('"5MB"', 5_000_000), ('"2Mi"', 2 << 20)],
)
def test_sizes_are_numbers_or_numbers_with_a_unit(tmp_path: Path, text: str, size: int) -> None:
    config = given(tmp_path, MINIMAL + f"[limits]\npayload_memory_max = {text}\n")
    assert config.limits.payload_memory_max == size
    environ = {"CLUSTER_MQ_LIMITS__PAYLOAD_MEMORY_MAX": text.strip('"')}
    assert given(tmp_path, MINIMAL, environ).limits.payload_memory_max == size


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[amqp]\nprot = 1", "c.toml: amqp.prot: unknown key; did you mean amqp.port?"),
        ("[ampq]\nport = 1", "c.toml: ampq: unknown key; did you mean amqp?"),
        ("[xyzzy]\nport = 1", "c.toml: xyzzy: unknown key"),
        ("amqp = 5", "c.toml: amqp: expected a table [amqp], got 5"),
        ("shards = 5", "c.toml: shards: unknown key; did you mean cluster.shards?"),
        ('[amqp]\nport = "5672"', "c.toml: amqp.port: expected int, got '5672'"),
        ("[amqp]\nport = true", "c.toml: amqp.port: expected int, got True"),
        ("[amqp]\nport = 70000", "c.toml: amqp.port: expected int <= 65535, got 70000"),
        ("[raft]\ntick_seconds = 2", "c.toml: raft.tick_seconds: expected float <= 1.0, got 2"),
        ('[log]\nlevel = "loud"', "c.toml: log.level: expected one of debug, info, warning, error, got 'loud'"),
        (
            '[limits]\nlink_outbox_max = "64 parsecs"',
            "c.toml: limits.link_outbox_max: expected a size such as 65536, '64MiB' or '1GB', got '64 parsecs'",
        ),
        (
            '[limits]\nlink_outbox_max = "1.0000000001KiB"',
            "c.toml: limits.link_outbox_max: expected a whole number of bytes, got '1.0000000001KiB'",
        ),
        ('[cluster]\npeers = ["mq-1"]', "c.toml: cluster.peers: expected 'name=host:port', got 'mq-1'"),
        ('[cluster]\npeers = ["mq-1=h:0"]', "c.toml: cluster.peers: port 0 of mq-1 is not within 1..65535"),
        ('[cluster]\npeers = ["a=h:1", "a=i:1"]', "c.toml: cluster.peers: a is named twice"),
        ("[raft]\nheartbeat_ticks = 4", "raft.election_ticks: expected at least 3 heartbeats (12 ticks), got 10"),
        ("[peer]\nport = 5672", "peer.port: 5672 is amqp.port already"),
        (
            '[cluster]\npeers = ["mq-0=h:1", "mq-1=h:1"]',
            "cluster.secret: required when there are peers; set it or cluster.secret_file",
        ),
        (
            '[cluster]\nsecret = "s"\npeers = ["mq-1=h:1"]',
            "cluster.peers: mq-0 is not named and peer.host is '0.0.0.0'; add it, or set peer.advertise, "
            "so that all nodes know its address",
        ),
        (
            '[cluster]\nsecret_file = "/nowhere"',
            "c.toml: cluster.secret_file: cannot read /nowhere: No such file or directory",
        ),
        (
            '[cluster]\nsecret = "s"\nsecret_file = "/nowhere"',
            "c.toml: cluster.secret_file: cluster.secret is set too; give one of them",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    # Top-level keys must stand before the first table.
    assert mistakes(tmp_path, f"{text}\n{MINIMAL}") == [line]


def test_a_file_that_is_not_toml_is_one_line_with_the_place(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "[node\n") == [
        "c.toml: not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"
    ]


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load(["--config", "/nowhere.toml"], {})
    assert caught.value.problems == ("/nowhere.toml: cannot read the configuration: No such file or directory",)


def test_mistakes_in_the_environment_and_in_flags_name_the_variable_and_the_flag(tmp_path: Path) -> None:
    environ = {"CLUSTER_MQ_AMQP__PRT": "1", "CLUSTER_MQ_HTTP__PORT": "many"}
    assert mistakes(tmp_path, MINIMAL, environ, "--peer-port", "0") == [
        "CLUSTER_MQ_AMQP__PRT: unknown variable; did you mean CLUSTER_MQ_AMQP__PORT?",
        "CLUSTER_MQ_HTTP__PORT: http.port: expected int, got 'many'",
        "--peer-port: peer.port: expected int >= 1, got '0'",
    ]


def test_an_unknown_flag_names_the_nearest(tmp_path: Path) -> None:
    assert mistakes(tmp_path, MINIMAL, {}, "--amqp-prot=1") == ["--amqp-prot: unknown flag; did you mean --amqp-port?"]


def test_required_options_say_how_to_set_them() -> None:
    with pytest.raises(ConfigError) as caught:
        load([], {})
    assert caught.value.problems == (
        "node.name: required; set it in the file, by CLUSTER_MQ_NODE__NAME or by a flag",
        "node.data_dir: required; set it in the file, by CLUSTER_MQ_NODE__DATA_DIR or by a flag",
    )


def test_variables_that_kubernetes_makes_for_services_are_not_ours(tmp_path: Path) -> None:
    environ = {"CLUSTER_MQ_AMQP_PORT": "tcp://10.0.0.7:5672", "CLUSTER_MQ_SERVICE_HOST": "10.0.0.7"}
    assert given(tmp_path, MINIMAL, environ).amqp.port == 5672


def test_secrets_have_no_flag_and_show_in_no_line_and_no_repr(tmp_path: Path) -> None:
    assert mistakes(tmp_path, MINIMAL + "[cluster]\nsecret = 70000071\n") == ["c.toml: cluster.secret: expected str"]
    assert mistakes(tmp_path, MINIMAL, {}, "--cluster-secret", "hidden")[0].startswith("--cluster-secret: unknown flag")
    environ = {"CLUSTER_MQ_CLUSTER__SECRET": "hidden", "CLUSTER_MQ_AUTH__DEFAULT_PASSWORD": "hidden"}
    config = given(tmp_path, MINIMAL, environ)
    assert config.secret_bytes == b"hidden"
    assert not config.auth.loopback_only
    assert "hidden" not in repr(config)


def test_a_secret_file_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    config = given(tmp_path, MINIMAL + f'[cluster]\nsecret_file = "{tmp_path}/secret"\n')
    assert config.secret_bytes == b"s3cret"
    (tmp_path / "secret").write_text("\n")
    assert mistakes(tmp_path, MINIMAL + f'[cluster]\nsecret_file = "{tmp_path}/secret"\n') == [
        "c.toml: cluster.secret_file: secret is empty"
    ]


@pytest.mark.parametrize("peers", [["mq-10=h:1", "mq-2=h:2", "mq-0=h:3"], ["mq-2=h:2", "mq-10=h:1"]])
def test_every_node_finds_the_same_founder_whatever_its_list(tmp_path: Path, peers: list[str]) -> None:
    text = MINIMAL + f'[peer]\nhost = "h"\nport = 3\n[cluster]\nsecret = "s"\npeers = {peers}\n'
    config = given(tmp_path, text)
    assert [str(member) for member in config.members] == ["mq-0=h:3", "mq-2=h:2", "mq-10=h:1"]
    assert config.is_founder
    assert config.this_member == config.founder
    assert [member.name for member in config.other_members] == ["mq-2", "mq-10"]


def test_peers_from_the_environment_are_separated_by_commas_or_spaces(tmp_path: Path) -> None:
    environ = {"CLUSTER_MQ_CLUSTER__PEERS": "mq-0=a:1, mq-1=[::1]:2 mq-2=c:3", "CLUSTER_MQ_CLUSTER__SECRET": "s"}
    config = given(tmp_path, MINIMAL, environ)
    assert [(member.host, member.port) for member in config.members] == [("a", 1), ("::1", 2), ("c", 3)]


def test_the_example_file_is_accepted_and_shows_every_option_with_its_default(tmp_path: Path) -> None:
    config = load(["--config", str(EXAMPLE)], {})
    assert [member.name for member in config.members] == ["mq-0", "mq-1", "mq-2"]
    text = re.sub(r"^#(\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^secret_file = .*\n", "", text, flags=re.MULTILINE)
    assert given(tmp_path, text) == config
    shown = re.findall(r"^#?(\w+) = |^\[(\w+)\]", EXAMPLE.read_text(), flags=re.MULTILINE)
    section, keys = "", []
    for key, table in shown:
        section = table or section
        if key:
            keys.append(f"{section}.{key}")
    assert keys == list(options())


def test_environment_and_flag_names_follow_from_the_key() -> None:
    assert environment_name("node.drain_timeout_seconds") == "CLUSTER_MQ_NODE__DRAIN_TIMEOUT_SECONDS"
    assert flag_name("node.drain_timeout_seconds") == "--node-drain-timeout-seconds"


def test_memory_is_the_least_of_the_cgroup_and_the_machine(tmp_path: Path) -> None:
    machine = available_memory(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) == machine
    (tmp_path / "memory.max").write_text("1048576\n")
    assert available_memory(tmp_path) == 1 << 20


def test_clusterd_prints_mistakes_without_a_traceback_and_exits_2() -> None:
    command = [sys.executable, "-m", "cluster.node.main", "--amqp-port", "x"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "clusterd: node.name: required; set it in the file, by CLUSTER_MQ_NODE__NAME or by a flag",
        "clusterd: node.data_dir: required; set it in the file, by CLUSTER_MQ_NODE__DATA_DIR or by a flag",
        "clusterd: --amqp-port: amqp.port: expected int, got 'x'",
    ]
