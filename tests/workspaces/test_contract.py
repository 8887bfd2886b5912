"""What a registry's container is created with, against the contract; every difference is a listed decision."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from workspace_server.engine.encode import container_config
from workspace_server.images import EnsuredImage
from workspace_server.settings import load_settings
from workspace_server.workspaces.container import container_spec
from workspace_server.workspaces.environment import environment
from workspace_server.workspaces.host_network import host_port

from .making import INSTANCE, NETWORK, workspace

CONTRACT = Path(__file__).parent / "golden" / "contract"
DECISION = Path(__file__).parents[2] / "docs/decisions/0011-registry-mode-against-its-predecessor.md"
PULLED = EnsuredImage(id="sha256:" + "ab" * 32, source="registry", platform=None, digest="sha256:" + "cd" * 32)

Flat = Mapping[str, Any]


def asked(runtime: str, tier: int) -> Flat:
    """What the engine is asked for."""
    settings = load_settings({"HOME": "/home/somebody", "MOLECULE_IMAGE_REGISTRY": "registry.example.org/team"})
    of = workspace(runtime=runtime, tier=tier, role="critic")
    told = environment(of, settings.agents_url, {})
    spec = container_spec(
        of,
        PULLED,
        told,
        host_gateway=NETWORK.gateway,
        instance=INSTANCE,
        settings=settings,
        host_port=host_port(tier, {}, NETWORK.gateway),
    )
    return flat(container_config(spec))


def contract(file: Path) -> Flat:
    return flat(json.loads(file.read_text()))


def flat(body: Mapping[str, Any]) -> Flat:
    """Values by their path; what is false or empty says the same as what is absent, to the engine."""
    environment = dict(item.split("=", 1) for item in body["Env"])
    return dict(_leaves({**body, "Env": environment}, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif path.startswith("ExposedPorts") or value not in (False, None, "", {}, []):
        yield path, value


def differences(file: Path) -> set[tuple[str, str]]:
    """The paths whose values differ, each with the tier."""
    runtime, _, tier = file.stem.rpartition("-tier")
    ours, theirs = asked(runtime, int(tier)), contract(file)
    return {(path, tier) for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}


FILES = sorted(CONTRACT.glob("*.json"))


def listed() -> set[tuple[str, str]]:
    """The differences of the decision's table, each with the tiers that it is for: all, unless it names some."""
    found = set()
    for path, rest in re.findall(r"^\| `([^`]+)` \|(.*)$", DECISION.read_text(), flags=re.MULTILINE):
        named = re.search(r"\(tiers? (\d)(?: to (\d))?\)", rest)
        first, last = named.groups() if named else ("1", "4")
        found |= {(path, str(tier)) for tier in range(int(first), int(last or first) + 1)}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_container_is_what_the_contract_says_but_for_listed_decisions(file: Path) -> None:
    assert differences(file) - listed() == set()


def test_every_listed_difference_is_one() -> None:
    found = set().union(*(differences(file) for file in FILES))

    assert {path for path, _ in listed()} - {path for path, _ in found} == set()


def test_all_tiers_are_compared() -> None:
    assert [file.stem for file in FILES] == ["claude-code-tier3", *(f"langgraph-tier{tier}" for tier in (1, 2, 3, 4))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_mounts_are_the_contracts_binds(file: Path) -> None:
    runtime, _, tier = file.stem.rpartition("-tier")
    mounts = [f"{mount['Source']}:{mount['Target']}" for mount in asked(runtime, int(tier))["HostConfig.Mounts"]]

    assert mounts == contract(file)["HostConfig.Binds"]


def test_what_is_run_is_the_image_that_was_looked_at() -> None:
    assert asked("langgraph", 2)["Image"] == PULLED.id
