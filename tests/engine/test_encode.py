"""What the engine is asked for, tier by tier: the golden files are the answer to "what may it do?"."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from workspace_server.engine.encode import container_config
from workspace_server.model.container import Access, ContainerSpec, Limits, Mount

GOLDEN = Path(__file__).parent / "golden"

LIMITS = {
    1: Limits(),
    2: Limits(memory_mib=512, cpu_shares=1024),
    3: Limits(memory_mib=2048, cpu_shares=2048),
    4: Limits(memory_mib=4096, cpu_shares=4096),
}
SPEC = ContainerSpec(
    name="ws-0123abcd-456",
    image_id="sha256:" + "ab" * 32,
    labels={"molecule.workspace.id": "0123abcd-4567", "molecule.platform.managed": "true"},
    mounts=[
        Mount(source="ws-0123abcd-456-configs", target="/configs"),
        Mount(source="/srv/project", target="/workspace", access=Access.READ_ONLY),
        Mount(source="ws-0123abcd-456-claude-sessions", target="/root/.claude/sessions"),
    ],
    network="molecule-monorepo-net",
    host_gateway="172.30.0.1",
    limits=LIMITS[2],
    tier=2,
    restart_policy="no",
    platform="linux/amd64",
    environment={"WORKSPACE_ID": "0123abcd-4567", "TIER": "2", "PLATFORM_URL": "http://host.docker.internal:8080"},
)


@pytest.mark.parametrize("tier", [1, 2, 3, 4])
def test_a_tier_is_encoded_as_its_golden_file_says(tier: int) -> None:
    config = container_config(replace(SPEC, tier=tier, limits=LIMITS[tier]))

    assert config == json.loads((GOLDEN / f"tier{tier}.json").read_text())


@pytest.mark.parametrize("tier", [0, 5, -1])
def test_an_unknown_tier_is_encoded_as_tier_2(tier: int) -> None:
    assert container_config(replace(SPEC, tier=tier)) == container_config(SPEC)


def test_half_a_cpu_is_500_million_nano_cpus() -> None:
    config = container_config(replace(SPEC, limits=Limits(cpu_shares=512)))

    assert config["HostConfig"]["NanoCpus"] == 500_000_000


@pytest.mark.parametrize(("cpus", "nano"), [(None, 4_000_000_000), (8, 4_000_000_000), (2, 2_000_000_000)])
def test_a_limit_is_never_more_than_the_machine_has(cpus: int | None, nano: int) -> None:
    assert container_config(replace(SPEC, limits=LIMITS[4]), cpus)["HostConfig"]["NanoCpus"] == nano


def test_environment_and_labels_do_not_depend_on_the_order_they_were_given_in() -> None:
    turned = replace(
        SPEC,
        environment=dict(sorted(SPEC.environment.items(), reverse=True)),
        labels=dict(sorted(SPEC.labels.items(), reverse=True)),
    )

    assert json.dumps(container_config(turned)) == json.dumps(container_config(SPEC))


def test_the_socket_of_tier_4_is_mounted_from_where_the_engine_has_it() -> None:
    config = container_config(replace(SPEC, tier=4), socket="/run/user/1000/docker.sock")

    (mount,) = (each for each in config["HostConfig"]["Mounts"] if each["Target"] == "/var/run/docker.sock")
    assert (mount["Source"], mount["Type"]) == ("/run/user/1000/docker.sock", "bind")
