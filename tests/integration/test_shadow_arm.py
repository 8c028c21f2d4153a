"""What a shadow is started with: its release with every tool mocked, and nothing else by that name."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairway.controller.arm_files import ReleaseArmFiles
from fairway.errors import RefusedError
from fairway.flags.file import VARIABLE
from fairway.project.load import load_project
from fairway.release.required import Required
from fairway.release.store import FileContentStore
from fairway.release.trust import trusted_keys
from fairway.scaffold import make_project
from fairway.stages.packaging import package
from fairway.targets.local.service import Placement, service_environment
from fairway.targets.local.target import PreparedArm
from fairway.targets.port import ArmSpec
from fairway.targets.shadow import shadow_configuration
from fairway.testing.memory_ledger import MemoryLedger
from fairway.traffic.table import Role
from fairway.units import Digest, EnvironmentName, RouteId

PRODUCTION = EnvironmentName("production")


def declare_model_key(file: Path) -> None:
    """The one credential that the shadow may have."""
    text = file.read_text()
    assert text.count("\n  soak: 30m\n") == 1
    file.write_text(text.replace("\n  soak: 30m\n", "\n  soak: 30m\n  shadow: {environment: [MODEL_KEY]}\n"))


class Setting:
    """A released project, and where its arms' files come from."""

    def __init__(self, folder: Path) -> None:
        self.root = make_project(folder / "shop", commit=False).directory
        declare_model_key(self.root / "fairway.yaml")
        for words in (
            ("init", "-q", "-b", "main"),
            ("add", "-A"),
            ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "the shop"),
        ):
            subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True)
        project = load_project(self.root)
        ledger, store = MemoryLedger(), FileContentStore(project.state.blobs)
        now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
        released = package(project, ledger, store, version="1.0.0", evidence_required=Required(kinds=()), now=now)
        self.manifest = released.manifest
        self.effective = self.manifest.effective[PRODUCTION]
        self.route = RouteId(agent=project.name, environment=PRODUCTION)
        keys = project.state.keys
        self.files = ReleaseArmFiles(releases=ledger, store=store, trusted=lambda: trusted_keys(keys))

    async def prepare(self, role: Role, effective: Digest, folder: Path) -> PreparedArm:
        folder.mkdir()
        spec = ArmSpec(role=role, release_digest=self.manifest.release_digest, effective_digest=effective, replicas=1)
        return await self.files.prepare(self.route, spec, folder)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("released"))


def configured(arm: PreparedArm) -> Any:
    return json.loads((arm.bundle / "effective.json").read_text())


async def test_every_tool_of_a_shadow_is_mocked_and_its_process_knows(setting: Setting, tmp_path: Path) -> None:
    shadow = await setting.prepare(Role.SHADOW, shadow_configuration(setting.effective), tmp_path / "shadow")
    candidate = await setting.prepare(Role.CANDIDATE, setting.effective, tmp_path / "candidate")
    mocked, real = configured(shadow), configured(candidate)
    assert {tool["mock"] for tool in mocked["tools"].values()} == {True}
    assert {tool["mock"] for tool in real["tools"].values()} == {False}
    assert mocked["effective"] == shadow_configuration(setting.effective) != real["effective"]
    same = ("release", "prompts", "models", "settings", "environment")
    assert {name: mocked[name] for name in same} == {name: real[name] for name in same}, "nothing else differs"
    assert environment_of(shadow)["FAIRWAY_SHADOW"] == "1"
    assert "FAIRWAY_SHADOW" not in environment_of(candidate)


async def test_an_arm_is_told_where_the_flags_in_force_are(setting: Setting, tmp_path: Path) -> None:
    assert VARIABLE not in environment_of(await setting.prepare(Role.STABLE, setting.effective, tmp_path / "without"))
    files = setting.files
    setting.files = replace(files, flags=lambda environment: tmp_path / environment)
    try:
        arm = await setting.prepare(Role.STABLE, setting.effective, tmp_path / "with")
    finally:
        setting.files = files
    assert environment_of(arm)[VARIABLE] == str(tmp_path / PRODUCTION)


PRODUCTIONS = {
    "PAYMENT_API_KEY": "k-1",
    "aws_secret_access_key": "k-2",
    "DATABASE_ADDRESS": "postgres://shop:pw@db/shop",
    "MODEL_KEY": "k-3",
    "LANG": "C",
}


async def test_a_shadow_has_no_credential_that_the_project_does_not_list(setting: Setting, tmp_path: Path) -> None:
    shadow = await setting.prepare(Role.SHADOW, shadow_configuration(setting.effective), tmp_path / "shadow")
    candidate = await setting.prepare(Role.CANDIDATE, setting.effective, tmp_path / "candidate")
    assert PRODUCTIONS.items() <= environment_of(candidate, PRODUCTIONS).items()
    seen = environment_of(shadow, PRODUCTIONS)
    assert PRODUCTIONS.keys() & seen.keys() == {"MODEL_KEY", "LANG"}
    assert seen["FAIRWAY_SHADOW"] == "1"
    own = replace(shadow, service=replace(shadow.service, environment=PRODUCTIONS))
    assert PRODUCTIONS.keys() & environment_of(own).keys() == {"MODEL_KEY", "LANG"}, "the service's own are no other"


def environment_of(arm: PreparedArm, inherited: dict[str, str] | None = None) -> dict[str, str]:
    digest = Digest("sha256:" + "0" * 64)
    placement = Placement(
        environment=PRODUCTION, release=digest, effective=digest, release_version="1", tree=arm.tree, bundle=arm.bundle
    )
    return service_environment(arm.service, placement, port=1, inherited=inherited or {})


@pytest.mark.parametrize("role", [Role.SHADOW, Role.CANDIDATE, Role.STABLE])
async def test_no_arm_has_anothers_configuration(setting: Setting, tmp_path: Path, role: Role) -> None:
    others = setting.effective if role is Role.SHADOW else shadow_configuration(setting.effective)
    with pytest.raises(RefusedError) as refused:
        await setting.prepare(role, others, tmp_path / "arm")
    assert refused.value.code == "effective_mismatch"


def test_a_shadows_configuration_is_never_that_of_its_release() -> None:
    clean = Digest("sha256:" + "a" * 64)
    assert shadow_configuration(clean) != clean
    assert shadow_configuration(shadow_configuration(clean)) not in (clean, shadow_configuration(clean))
    dev = Digest("dev:" + clean)
    assert shadow_configuration(dev) == "dev:" + shadow_configuration(clean)
