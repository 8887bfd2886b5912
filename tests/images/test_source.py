"""Where images come from: one decision, by the environment alone."""

import platform
import sys
from pathlib import Path

import pytest

from workspace_server.errors import SettingsError
from workspace_server.images import ImageSource, LocalBuildSource, RegistrySource, image_source
from workspace_server.model.reference import RegistryPrefix
from workspace_server.settings import load_settings

ANY_MACHINE = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")]


@pytest.fixture(params=ANY_MACHINE, ids="-".join)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Every machine this program may run on, one after the other."""
    return become(monkeypatch, *request.param)


def become(monkeypatch: pytest.MonkeyPatch, system: str, processor: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    return system, processor


def decided(tmp_path: Path, **environment: str) -> ImageSource:
    return image_source(load_settings({"HOME": str(tmp_path), **environment}))


@pytest.mark.parametrize("registry", [None, "", " ", "\t \n"])
@pytest.mark.usefixtures("machine")
def test_without_a_registry_images_are_built_for_productions_platform(tmp_path: Path, registry: str | None) -> None:
    environment = {} if registry is None else {"MOLECULE_IMAGE_REGISTRY": registry}

    assert decided(tmp_path, **environment) == LocalBuildSource(platform="linux/amd64")


@pytest.mark.usefixtures("machine")
def test_an_empty_platform_builds_for_the_engines_own(tmp_path: Path) -> None:
    assert decided(tmp_path, MOLECULE_IMAGE_PLATFORM="") == LocalBuildSource(platform=None)


@pytest.mark.usefixtures("machine")
def test_a_platform_that_is_set_is_the_builds(tmp_path: Path) -> None:
    assert decided(tmp_path, MOLECULE_IMAGE_PLATFORM="linux/arm64/v8") == LocalBuildSource(platform="linux/arm64/v8")


@pytest.mark.parametrize(
    "prefix", ["ghcr.io/molecule-ai", "localhost/a/b", "127.0.0.1:5000", "r.example.org/x", "[::1]:5000/a"]
)
def test_a_prefix_is_a_registry(tmp_path: Path, prefix: str) -> None:
    assert decided(tmp_path, MOLECULE_IMAGE_REGISTRY=f" {prefix}/ ") == RegistrySource(
        prefix=RegistryPrefix(prefix), platform=None
    )


@pytest.mark.parametrize(
    "prefix",
    ["https://ghcr.io/x", "molecule-ai", "ghcr.io/Molecule", "ghcr.io/x:latest", "ghcr.io/x@sha256:0", "a b.c"],
)
def test_what_is_neither_refuses_to_start(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(SettingsError, match="MOLECULE_IMAGE_REGISTRY") as caught:
        decided(tmp_path, MOLECULE_IMAGE_REGISTRY=prefix)

    assert (prefix in caught.value.message, "for example" in caught.value.hint) == (True, True)


@pytest.mark.parametrize(
    ("system", "processor", "expected"),
    [
        ("darwin", "arm64", "linux/amd64"),
        ("darwin", "x86_64", None),
        ("linux", "aarch64", None),
        ("linux", "arm64", None),
    ],
)
def test_a_registrys_platform_is_left_to_the_engine_but_on_apple_silicon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, processor: str, expected: str | None
) -> None:
    become(monkeypatch, system, processor)

    source = decided(tmp_path, MOLECULE_IMAGE_REGISTRY="ghcr.io/molecule-ai")

    assert source == RegistrySource(prefix=RegistryPrefix("ghcr.io/molecule-ai"), platform=expected)


@pytest.mark.parametrize(("value", "expected"), [("", None), ("linux/arm64", "linux/arm64")])
@pytest.mark.usefixtures("machine")
def test_a_platform_variable_decides_for_a_registry_too(tmp_path: Path, value: str, expected: str | None) -> None:
    source = decided(tmp_path, MOLECULE_IMAGE_REGISTRY="ghcr.io/m", MOLECULE_IMAGE_PLATFORM=value)

    assert source == RegistrySource(prefix=RegistryPrefix("ghcr.io/m"), platform=expected)
