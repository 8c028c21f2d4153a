"""Derived releases: whole components, honest versions, and no evidence of anything that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import RefusedError, UserError
from fairway.release.derive import INHERITED, Swap, derive, derived_version, inherited, never_stable, subject_of
from fairway.release.required import CHECKS, REHEARSALS, Required, lacking
from fairway.release.tree import TreeFile, component_digests, release_digest
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.versions import Version
from fairway.release.wire import manifest_bytes, manifest_from_wire, manifest_to_wire
from fairway.units import AgentName, Digest, EnvironmentName, Verdict

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
PATHS = {
    Component.CODE: "app.py",
    Component.PROMPTS: "prompts/support/1.0.0.yaml",
    Component.MODELS: "models.yaml",
    Component.TOOLS: "tools.yaml",
    Component.POLICIES: "fairway.yaml",
}
REQUIRED = Required(kinds=(*CHECKS, *REHEARSALS))


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


SUITES = digest(7)


def tree(**contents: int) -> tuple[TreeFile, ...]:
    return tuple(
        TreeFile(path=path, mode="100644", digest=digest(contents.get(part.value, 0)), component=part)
        for part, path in PATHS.items()
    )


def manifest(files: tuple[TreeFile, ...], version: str, **changes: object) -> Manifest:
    components = component_digests(files)
    values: dict[str, object] = {
        "agent": AgentName("shop"),
        "release_version": version,
        "tag": f"v{version}",
        "commit_sha": "ab" * 20,
        "components": components,
        "release_digest": release_digest(components),
        "effective": {EnvironmentName("production"): digest(1)},
        "tree": digest(2),
        "prompts": {},
        "tools": (),
        "models": {},
        "created_at": NOW,
        "publisher": "ada@example.org",
        "authors": ("ada@example.org",),
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def found(kind: str, of: Manifest, verdict: Verdict = Verdict.PASS, **changes: object) -> Evidence:
    finding = Evidence(
        kind=kind, release=of.release_digest, verdict=verdict, produced_by="test", at=NOW, instrument=SUITES
    )
    return replace(finding, **changes)  # type: ignore[arg-type]


OLD, NEW = tree(prompts=1, code=1), tree(prompts=2, code=2)
STABLE = manifest(NEW, "1.1.0", authors=("ada@example.org",), state_schema="2", reads=("1", "2"))
FORMER = manifest(OLD, "1.0.0", authors=("grace@example.org",))


def swapped(component: Component, base: Manifest = STABLE, donor: Manifest = FORMER) -> object:
    files = {STABLE.release_digest: NEW, FORMER.release_digest: OLD}
    return derive(
        base,
        files[base.release_digest],
        [Swap(component=component, donor=donor)],
        {donor.release_digest: files[donor.release_digest]},
    )


def test_exactly_the_named_component_is_the_donors_and_every_other_is_the_bases() -> None:
    derived = swapped(Component.PROMPTS)
    assert derived.components[Component.PROMPTS] == FORMER.components[Component.PROMPTS]
    for part in set(Component) - {Component.PROMPTS}:
        assert derived.components[part] == STABLE.components[part]
    assert derived.digest not in (STABLE.release_digest, FORMER.release_digest)
    assert (derived.parent, derived.donors) == (
        STABLE.release_digest,
        {Component.PROMPTS: FORMER.release_digest},
    )


@given(
    base=st.fixed_dictionaries({part.value: st.integers(0, 3) for part in Component}),
    donor=st.fixed_dictionaries({part.value: st.integers(0, 3) for part in Component}),
    parts=st.sets(st.sampled_from(list(Component)), min_size=1),
)
def test_deriving_swaps_whole_components_whatever_the_releases(
    base: Mapping[str, int], donor: Mapping[str, int], parts: set[Component]
) -> None:
    ours, theirs = tree(**base), tree(**donor)
    one, other = manifest(ours, "1.1.0"), manifest(theirs, "1.0.0")
    swaps = [Swap(component=part, donor=other) for part in parts]
    if all(base[part.value] == donor[part.value] for part in parts):
        with pytest.raises(RefusedError, match="nothing would change"):
            derive(one, ours, swaps, {other.release_digest: theirs})
        return
    derived = derive(one, ours, swaps, {other.release_digest: theirs})
    assert derived.components == {part: (other if part in parts else one).components[part] for part in Component}
    assert derived.digest == release_digest(component_digests(derived.files))


def test_the_state_schema_is_that_of_the_release_the_code_is_from() -> None:
    assert (swapped(Component.PROMPTS).state_schema, swapped(Component.PROMPTS).reads) == ("2", ("1", "2"))
    assert (swapped(Component.CODE).state_schema, swapped(Component.CODE).reads) == ("1", ("1",))


def test_nobody_who_wrote_a_part_of_it_may_approve_it() -> None:
    assert swapped(Component.PROMPTS).authors == ("ada@example.org", "grace@example.org")


def test_files_that_do_not_give_the_donors_component_are_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        derive(
            STABLE,
            NEW,
            [Swap(component=Component.PROMPTS, donor=FORMER)],
            {FORMER.release_digest: tree(prompts=7)},
        )
    assert refused.value.code == "derive_mismatch"


def test_a_component_named_twice_or_not_at_all_is_refused() -> None:
    swap = Swap(component=Component.PROMPTS, donor=FORMER)
    for swaps, code in (([swap, swap], "derive_twice"), ([], "derive_nothing")):
        with pytest.raises(UserError) as refused:
            derive(STABLE, NEW, swaps, {FORMER.release_digest: OLD})
        assert refused.value.code == code


@pytest.mark.parametrize(
    ("base", "taken", "expected"),
    [
        ("1.1.0", [], "1.1.0-r1"),
        ("1.1.0", ["1.1.0", "1.0.0-r4"], "1.1.0-r1"),
        ("1.1.0", ["1.1.0-r1", "1.1.0-r3", "not a version"], "1.1.0-r4"),
        ("1.1.0-r2", ["1.1.0-r2"], "1.1.0-r3"),
    ],
)
def test_the_version_is_the_next_free_rollback_of_its_base(base: str, taken: list[str], expected: str) -> None:
    made = derived_version(Version.parse(base), taken)
    assert str(made) == expected
    assert made > Version.parse(base)


@pytest.mark.parametrize("base", ["1.1.0-rc1", "1.1.0-gray-a", "1.1.0-dev.2+g1234567"])
def test_a_version_that_was_never_released_has_no_rollback(base: str) -> None:
    with pytest.raises(RefusedError) as refused:
        derived_version(Version.parse(base), [])
    assert refused.value.code == "derive_from"


def test_evidence_about_a_changed_component_is_never_inherited() -> None:
    known = [found(kind, STABLE) for kind in REQUIRED.kinds]
    for part in Component:
        derived = swapped(part) if STABLE.components[part] != FORMER.components[part] else None
        if derived is None:
            continue
        for kind in inherited(REQUIRED, known, of=STABLE, derived=derived, instrument=SUITES):
            assert part not in subject_of(kind), f"{kind} is about {part}, which changed"


def test_only_what_reads_less_than_everything_can_be_inherited_and_says_from_where() -> None:
    known = [found(kind, STABLE) for kind in REQUIRED.kinds]
    kept = inherited(REQUIRED, known, of=STABLE, derived=swapped(Component.CODE), instrument=SUITES)
    assert set(kept) == {"cost_gate"}
    finding = kept["cost_gate"]
    assert finding.release == swapped(Component.CODE).digest
    assert finding.figures[INHERITED] == STABLE.release_digest
    assert finding.figures["unchanged"] == ["models", "policies", "prompts", "tools", "suites"]
    assert inherited(REQUIRED, known, of=STABLE, derived=swapped(Component.PROMPTS), instrument=SUITES) == {}


@pytest.mark.parametrize(
    ("made_with", "examined_with"),
    [(SUITES, digest(8)), (None, SUITES), (SUITES, None), (None, None)],
    ids=["other suites", "not said by the finding", "not known here", "neither"],
)
def test_a_finding_is_not_inherited_by_content_with_other_suites(
    made_with: Digest | None, examined_with: Digest | None
) -> None:
    known = [found("cost_gate", STABLE, instrument=made_with)]
    derived = swapped(Component.CODE)
    assert inherited(REQUIRED, known, of=STABLE, derived=derived, instrument=examined_with) == {}


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NO_DATA, Verdict.ERROR])
def test_what_is_not_a_pass_is_not_inherited_and_an_older_pass_does_not_outlive_it(verdict: Verdict) -> None:
    known = [found("cost_gate", STABLE), found("cost_gate", STABLE, verdict, at=NOW + timedelta(seconds=1))]
    assert inherited(REQUIRED, known, of=STABLE, derived=swapped(Component.CODE), instrument=SUITES) == {}


def test_a_finding_at_an_environments_configuration_is_of_the_whole_release_and_never_inherited() -> None:
    known = [found("cost_gate", STABLE, effective=digest(1), environment=EnvironmentName("production"))]
    assert inherited(REQUIRED, known, of=STABLE, derived=swapped(Component.CODE), instrument=SUITES) == {}


def test_inherited_evidence_counts_and_what_is_not_inherited_still_lacks() -> None:
    derived = swapped(Component.CODE)
    kept = inherited(
        REQUIRED, [found(kind, STABLE) for kind in REQUIRED.kinds], of=STABLE, derived=derived, instrument=SUITES
    )
    lacks = lacking(REQUIRED, kept.values(), release=derived.digest, effective={}, now=NOW)
    assert set(lacks) == set(REQUIRED.kinds) - {"cost_gate"}


def test_a_mix_of_former_stables_has_stood_and_a_new_component_has_not() -> None:
    assert never_stable(swapped(Component.PROMPTS).components, [STABLE, FORMER]) == ()
    assert never_stable(swapped(Component.PROMPTS).components, [STABLE]) == (Component.PROMPTS,)
    assert set(never_stable(STABLE.components, [])) == set(Component)


def test_a_manifest_names_its_donors_and_one_without_is_the_bytes_it_was(
    make_manifest: Callable[..., Manifest],
) -> None:
    plain = make_manifest()
    assert b"donors" not in manifest_bytes(plain)
    derived = make_manifest(parent=digest(3), donors={Component.PROMPTS: digest(4)})
    assert manifest_from_wire(manifest_to_wire(derived)) == derived
    wire = manifest_to_wire(derived)
    for broken in ({}, {"weather": digest(4)}, {"prompts": "x"}):
        with pytest.raises(UserError, match="donors"):
            manifest_from_wire({**wire, "donors": broken})
