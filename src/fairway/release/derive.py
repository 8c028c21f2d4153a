"""A release made of another one with some components of a third: what it holds, what it is called, what vouches for it.

Pure. A derived release is a release like any other: content-addressed, signed, with its own version ``-rN`` and its
parents named in the manifest. Nothing vouches for it because its parts were fine apart: evidence is *inherited* only
where everything the finding was about is, byte for byte, what it was found on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fairway.errors import RefusedError, UserError
from fairway.release.required import Required, has_nothing
from fairway.release.tree import TreeFile, component_digests, release_digest
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.versions import Version, VersionKind
from fairway.units import Digest, Verdict, short

SUBJECTS: Mapping[str, frozenset[Component]] = {
    "cost_gate": frozenset((Component.PROMPTS, Component.MODELS, Component.TOOLS, Component.POLICIES)),
}
"""What a kind of evidence is about, where that is less than the whole release; every other kind reads all of it.

Only a kind whose stage demonstrably reads no other component may stand here: the cost gate counts tokens of prompts,
tool schemas and model windows against budgets, and never runs the code. It does read the suites, for the largest input
a prompt is filled with; they are no component, so a finding of these kinds says with which instrument it was made.
"""

INHERITED = "inherited_from"
"""Figure of inherited evidence: the release digest it was found on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Take ``component`` from the release ``donor``."""

    component: Component
    donor: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What a derived release holds, before it is cut.

    Attributes:
        files: Of its tree.
        components, digest: Digests of the content.
        parent: The release it is derived from.
        donors: Where each replaced component is from; one that was the same already is not named.
        authors: Of the parent and of every donor: who may not approve it.
        state_schema, reads: Those of the release its code is from: the code writes and reads the state.
    """

    files: tuple[TreeFile, ...]
    components: Mapping[Component, Digest]
    digest: Digest
    parent: Digest
    donors: Mapping[Component, Digest]
    authors: tuple[str, ...]
    state_schema: str
    reads: tuple[str, ...]


def derive(
    base: Manifest, files: Iterable[TreeFile], swaps: Iterable[Swap], donor_files: Mapping[Digest, Iterable[TreeFile]]
) -> Derived:
    """The content of ``base`` with each swap's component replaced whole by the donor's.

    Args:
        base: What it is derived from.
        files: Files of ``base``.
        swaps: At least one; of each component at most one.
        donor_files: Files of each donor, by release digest.

    Raises:
        UserError: ``derive_nothing`` without a swap, ``derive_twice`` when a component is named twice.
        RefusedError: ``derive_unchanged`` when every donor holds the same component as ``base``.
    """
    wanted: dict[Component, Swap] = {}
    for swap in swaps:
        if swap.component in wanted:
            raise UserError(f"{swap.component.value} is named twice; one release gives it", code="derive_twice")
        wanted[swap.component] = swap
    if not wanted:
        raise UserError("name what to take from which release", code="derive_nothing", hint="--only prompts=1.0.0")
    changing = {part: swap for part, swap in wanted.items() if swap.donor.components[part] != base.components[part]}
    if not changing:
        parts = ", ".join(part.value for part in wanted)
        raise RefusedError(
            f"nothing would change: {parts} of {base.release_version} is what the other release has",
            code="derive_unchanged",
            hint="fairway release diff shows where two releases differ",
        )
    kept = [file for file in files if file.component not in changing]
    for part, swap in changing.items():
        kept += [file for file in donor_files[swap.donor.release_digest] if file.component is part]
    components = component_digests(kept)
    _check(base, changing, components)
    code = changing[Component.CODE].donor if Component.CODE in changing else base
    authors = dict.fromkeys((*base.authors, *(who for swap in changing.values() for who in swap.donor.authors)))
    return Derived(
        files=tuple(sorted(kept, key=lambda file: file.path)),
        components=components,
        digest=release_digest(components),
        parent=base.release_digest,
        donors={part: swap.donor.release_digest for part, swap in changing.items()},
        authors=tuple(authors),
        state_schema=code.state_schema,
        reads=code.reads,
    )


def _check(base: Manifest, changing: Mapping[Component, Swap], components: Mapping[Component, Digest]) -> None:
    """What was put together must be what was asked for: each component whole, none touched by another's files."""
    for part in Component:
        whose = changing[part].donor if part in changing else base
        if components[part] != whose.components[part]:
            raise RefusedError(
                f"the files of {whose.release_version} do not give its {part.value} ({short(whose.components[part])})",
                code="derive_mismatch",
                hint="fairway release verify says which release is damaged",
            )


def derived_version(base: Version, taken: Iterable[str]) -> Version:
    """The next free ``-rN`` of the version ``base`` is, or is a rollback of.

    Raises:
        RefusedError: ``derive_from`` when ``base`` is a candidate, a gray or a development version: a rollback goes
            back to something that was released.
    """
    if not base.is_release:
        raise RefusedError(
            f"{base} was never a release of its own, so there is no rollback to it",
            code="derive_from",
            hint="derive from a version such as 1.2.0 or 1.2.0-r1",
        )
    numbers = [0]
    for text in taken:
        try:
            other = Version.parse(text)
        except UserError:
            continue  # another agent's way of naming, or a hand-written ledger: it cannot be an -rN
        if other.kind is VersionKind.ROLLBACK and other.rollback(1) == base.rollback(1):
            numbers.append(other.number)
    return base.rollback(max(numbers) + 1)


def subject_of(kind: str) -> frozenset[Component]:
    """The components a kind of evidence is about."""
    return SUBJECTS.get(kind, frozenset(Component))


def inherited(
    required: Required, evidence: Iterable[Evidence], *, of: Manifest, derived: Derived, instrument: Digest | None
) -> dict[str, Evidence]:
    """Evidence of a parent that still holds for the derived content, by kind, bound to the derived release.

    A finding is taken over only when every component it is about has the digest it had, only when it was made with the
    instrument (suites, tests) the derived content is examined with, and only when it does not depend on an
    environment's effective configuration (which is of the whole release). The newest finding of a kind
    decides: an old PASS does not outlive a newer FAIL, and what is not a PASS is not inherited at all.

    Args:
        required: Which kinds are asked for.
        evidence: Everything known about ``of``.
        of: The release the evidence was found on.
        derived: What it would be inherited by.
        instrument: Digest of the suites and tests of the derived content; ``None``, when it is not known, inherits
            nothing.
    """
    newest: dict[str, Evidence] = {}
    for finding in evidence:
        if finding.release != of.release_digest or finding.kind not in required.kinds:
            continue
        if finding.kind not in newest or finding.at >= newest[finding.kind].at:
            newest[finding.kind] = finding
    return {
        kind: _taken_over(finding, derived)
        for kind, finding in newest.items()
        if _holds(finding) and _same_subject(kind, of, derived) and _same_instrument(finding, instrument)
    }


def _holds(finding: Evidence) -> bool:
    return finding.effective is None and (finding.verdict is Verdict.PASS or has_nothing(finding))


def _same_subject(kind: str, of: Manifest, derived: Derived) -> bool:
    return all(derived.components[part] == of.components[part] for part in subject_of(kind))


def _same_instrument(finding: Evidence, instrument: Digest | None) -> bool:
    """A finding that does not say with which it was made was made with an unknown one."""
    return instrument is not None and finding.instrument == instrument


def _taken_over(finding: Evidence, derived: Derived) -> Evidence:
    parts = [*sorted(part.value for part in subject_of(finding.kind)), "suites"]
    figures = {**finding.figures, INHERITED: finding.release, "unchanged": parts}
    return replace(finding, release=derived.digest, figures=figures)


def never_stable(components: Mapping[Component, Digest], former: Iterable[Manifest]) -> tuple[Component, ...]:
    """Components that were in no release that was stable here; empty: every one of them has served before."""
    known = list(former)
    return tuple(part for part in Component if all(manifest.components[part] != components[part] for manifest in known))
