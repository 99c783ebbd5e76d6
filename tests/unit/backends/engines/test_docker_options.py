"""What a container is allowed and given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.engines import pipeline, spec

from tarry.backends.engines.docker_api import Daemon
from tarry.backends.engines.docker_gpus import Gpus
from tarry.backends.engines.docker_options import (
    DockerOptions,
    Labels,
    PlacedContainer,
    container_config,
    labels_of,
    memory_bytes,
    shared_network_config,
)
from tarry.backends.engines.variables import Cloud
from tarry.core.catalog import ModelDataSource
from tarry.core.errors import InstanceStartError
from tarry.ports import Credentials, InstanceSpec

GIB = 2**30
DAEMON = Daemon(name="Docker", podman=False, reaches_containers=True, limits_memory=True, cpus=16, memory_bytes=100 * GIB)
PLACE = PlacedContainer(
    instance=spec(A="1", AWS_REGION="mine"),
    index=0,
    owner="0123456789",
    attempt="a",
    home=Path("/data/0"),
    region="eu-west-1",
    port=20001,
)


def config(instance: InstanceSpec | None = None, options: DockerOptions | None = None, **over: Any) -> dict[str, Any]:
    place = replace(PLACE, instance=instance or PLACE.instance, **over)
    return dict(container_config(place, options or DockerOptions(), DAEMON))


def host(*arguments: Any, **over: Any) -> dict[str, Any]:
    return dict(config(*arguments, **over)["HostConfig"])


def test_it_is_started_as_aws_starts_it() -> None:
    made = config()
    assert made["Cmd"] == ["serve"]
    assert "Entrypoint" not in made
    assert made["StopSignal"] == "SIGTERM"
    assert made["HostConfig"]["Init"] is False
    assert set(made["Env"]) == {"A=1", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "SAGEMAKER_BIND_TO_PORT=8080"}


def test_it_is_closed_where_no_model_server_needs_it_open() -> None:
    made = host()
    assert made["CapDrop"] == ["ALL"]
    assert not {"NET_RAW", "SYS_CHROOT", "MKNOD", "SYS_ADMIN"} & set(made["CapAdd"])
    assert made["SecurityOpt"] == ["no-new-privileges"]
    assert made["PidsLimit"] == 4096
    assert made["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}]}
    assert made["NetworkMode"] == "tarry"
    assert made["RestartPolicy"] == {"Name": "no"}


def test_the_model_is_mounted_read_only_and_only_where_there_is_one() -> None:
    assert host()["Mounts"] == [], "an image may bring its model in /opt/ml/model"
    with_model = spec(url="s3://bucket/model.tar.gz")
    assert host(with_model)["Mounts"] == [
        {"Type": "bind", "Source": "/data/0/model", "Target": "/opt/ml/model", "ReadOnly": True}
    ]
    channel = {"lora": ModelDataSource(s3_uri="s3://bucket/lora/")}
    container = replace(with_model.containers[0], model_data=None, additional_model_data=channel)
    [mount] = host(replace(with_model, containers=(container,)))["Mounts"]
    assert (mount["Target"], mount["ReadOnly"]) == ("/opt/ml/additional-model-data-sources", True)


@pytest.mark.parametrize(
    ("instance_type", "gib", "cpus"),
    [
        ("ml.t2.medium", 4, 2),
        ("ml.m5.xlarge", 16, 4),
        ("ml.m5.4xlarge", 64, None),
        ("ml.m5.24xlarge", 90, None),
        ("ml.g7.xlarge", 90, 4),
        ("ml.x99.huge", 90, None),
    ],
)
def test_limits_come_from_the_type_and_stop_before_the_machine_does(instance_type: str, gib: float, cpus: int | None) -> None:
    made = host(replace(spec(), instance_type=instance_type))
    assert made["Memory"] == made["MemorySwap"] == gib * GIB == memory_bytes(instance_type, DockerOptions(), DAEMON)
    assert made["ShmSize"] == gib * GIB / 2
    assert made.get("NanoCpus") == (None if cpus is None else cpus * 10**9)


def test_an_operators_choices() -> None:
    made = host(None, DockerOptions(network="mine", read_only=True, pids_max=7, ulimits={"nofile": 4096}))
    assert (made["NetworkMode"], made["ReadonlyRootfs"], made["PidsLimit"]) == ("mine", True, 7)
    assert host(None, DockerOptions(memory_max_bytes=GIB))["Memory"] == GIB
    assert "mode=1777" in made["Tmpfs"]["/tmp"]
    assert made["Ulimits"] == [{"Name": "nofile", "Soft": 4096, "Hard": 4096}]


def test_of_a_server_with_https_it_trusts_the_certificate() -> None:
    cloud = Cloud(endpoint_url="https://gateway.invalid:8780", ca_bundle=Path("/data/ca.pem"))
    instance = replace(spec(), credentials=Credentials(access_key_id="A", secret_access_key="s"))
    made = config(instance, cloud=cloud)
    assert {"AWS_CA_BUNDLE=/opt/tarry/ca-bundle.pem", "AWS_ENDPOINT_URL=https://gateway.invalid:8780"} <= set(made["Env"])
    [mount] = made["HostConfig"]["Mounts"]
    assert mount == {"Type": "bind", "Source": "/data/ca.pem", "Target": "/opt/tarry/ca-bundle.pem", "ReadOnly": True}
    plain = config(instance, cloud=replace(cloud, ca_bundle=None))
    assert plain["HostConfig"]["Mounts"] == []
    assert not [word for word in plain["Env"] if word.startswith("AWS_CA_BUNDLE")]


def test_what_it_prints_without_end_does_not_fill_the_daemons_disk() -> None:
    log = host()["LogConfig"]
    assert log["Type"] == "json-file"
    assert set(log["Config"]) == {"max-size", "max-file"}


def test_an_isolated_instance_has_a_network_of_its_own_and_no_port() -> None:
    made = host(None, DockerOptions(network="mine"), port=None)
    assert made["NetworkMode"] == "tarry-01234567-i-1"
    assert "PortBindings" not in made


def test_podman_is_not_given_an_option_that_it_refuses() -> None:
    assert shared_network_config(DAEMON)["Options"]
    assert shared_network_config(replace(DAEMON, podman=True))["Options"] == {}


def test_labels_are_read_as_they_were_written() -> None:
    place = replace(PLACE, instance=pipeline(2), index=1, gpus=("0", "1"))
    assert Labels.read(labels_of(place)) == Labels(
        instance_id="i-1",
        instance_type="ml.m5.xlarge",
        endpoint_name="my-endpoint",
        variant_name="AllTraffic",
        hostname="container-2",
        index=1,
        count=2,
        attempt="a",
        gpus=("0", "1"),
    )
    assert config(pipeline(2), index=1)["Hostname"] == "container-2"
    with pytest.raises(KeyError):
        Labels.read({"tarry.owner": "0123456789"})


def test_a_variable_that_no_process_can_have_is_refused() -> None:
    with pytest.raises(InstanceStartError, match="Environment"):
        config(spec(BAD="a\0b"))


def test_gpus_go_to_those_types_that_have_some_and_are_shared_evenly() -> None:
    gpus = Gpus(["0", "1", "2"])
    assert gpus.take("cpu", "ml.m5.xlarge") == ()
    assert gpus.take("other", "ml.inf2.xlarge") == (), "not NVIDIA's"
    assert gpus.take("a", "ml.g5.xlarge") == ("0",)
    assert gpus.take("b", "ml.g5.xlarge") == ("1",)
    assert gpus.take("four", "ml.g5.12xlarge") == ("0", "1", "2"), "more than there are"
    gpus.give_back("a")
    assert gpus.take("c", "ml.g5.xlarge") == ("0",)
    assert gpus.take("c", "ml.g5.xlarge") == ("0",), "its own do not count against it"
    assert Gpus([]).take("a", "ml.g5.xlarge") == (), "without any it runs on the CPU"
    assert host(gpus=("1",))["DeviceRequests"] == [{"Driver": "nvidia", "DeviceIDs": ["1"], "Capabilities": [["gpu"]]}]
    assert "DeviceRequests" not in host()


def test_fewer_gpus_than_a_type_has_are_told() -> None:
    with capture_logs() as logs:
        assert Gpus([]).take("a", "ml.g5.xlarge") == ()
        assert Gpus([]).take("b", "ml.m5.xlarge") == ()
    [told] = logs
    assert "runs on the CPU" in told["event"]
    assert (told["instance"], told["instance_type"], told["wanted"]) == ("a", "ml.g5.xlarge", 1)
