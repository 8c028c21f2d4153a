"""What Prometheus reads: users' requests and mirrored ones are told apart."""

from __future__ import annotations

from fairway.gateway.metrics import MetricsBook
from fairway.observe.blocks import Batch, Increment
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
VERSIONS = {OLD: "1.0.0", NEW: "1.1.0"}


def batch(*increments: Increment) -> Batch:
    return Batch(gateway="g", boot="b", worker=0, seq=1, at=0.0, block_seconds=1.0, timeout=1.0, increments=increments)


def stable() -> Increment:
    return Increment(
        t0=0, release=OLD, role=Role.STABLE, fence=Fence(term=1, seq=1),
        assigned=9, finished=9, served=9, sums={"tools": 4},
    )  # fmt: skip


def shadow(**sums: float) -> Increment:
    return Increment(t0=0, release=NEW, role=Role.SHADOW, fence=Fence(term=1, seq=1), sums=sums)


def lines(book: MetricsBook, name: str) -> list[str]:
    return [line for line in book.render("shop/production", ()).splitlines() if line.startswith(name + "{")]


def test_copies_for_a_shadow_are_in_no_figure_of_users() -> None:
    book = MetricsBook()
    book.add(batch(stable(), shadow(shadow_pairs=7, shadow_failed=2)), VERSIONS)
    for line in book.render("shop/production", ()).splitlines():
        if not line.startswith(("#", "fairway_gateway_shadow_")):
            assert "shadow" not in line, line
            assert "1.1.0" not in line, line


def test_what_became_of_copies_is_told_by_result_and_finding() -> None:
    book = MetricsBook()
    book.add(batch(shadow(shadow_pairs=7, shadow_failed=2, shadow_ms=1500, shadow_primary_ms=1000)), VERSIONS)
    book.add(batch(shadow(shadow_pairs=1, shadow_dropped=3)), VERSIONS)
    common = 'route="shop/production",release="1.1.0"'
    results = "fairway_gateway_shadow_requests_total"
    assert f'{results}{{{common},result="compared"}} 8' in lines(book, results)
    assert f'{results}{{{common},result="dropped"}} 3' in lines(book, results)
    assert f'{results}{{{common},result="diverged"}} 0' in lines(book, results)
    findings = "fairway_gateway_shadow_findings_total"
    assert f'{findings}{{{common},finding="failed"}} 2' in lines(book, findings)
    seconds = "fairway_gateway_shadow_seconds_total"
    assert f'{seconds}{{{common},side="shadow"}} 1.5' in lines(book, seconds)


def test_a_gateway_that_never_mirrored_says_nothing_of_shadows() -> None:
    book = MetricsBook()
    book.add(batch(stable()), VERSIONS)
    assert "shadow" not in book.render("shop/production", ())


def test_what_was_run_again_on_stable_is_told_under_the_release_that_failed() -> None:
    book = MetricsBook()
    failed = Increment(
        t0=0, release=NEW, role=Role.CANDIDATE, fence=Fence(term=1, seq=1), assigned=9, finished=9, served=9,
        failed=5, sums={"reruns": 5, "reruns_ok": 4, "reruns_failed": 1, "tools": 2},
    )  # fmt: skip
    book.add(batch(stable(), failed), VERSIONS)
    name = "fairway_gateway_reruns_total"
    common = 'route="shop/production",release="1.1.0",role="candidate"'
    assert lines(book, name) == [
        f'{name}{{{common},result="ok"}} 4',
        f'{name}{{{common},result="failed"}} 1',
        f'{name}{{{common},result="unknown"}} 0',
    ]
    requests = "fairway_gateway_requests_total"
    assert f'{requests}{{{common},outcome="failed"}} 5' in lines(book, requests)
    told = book.render("shop/production", ()).splitlines()
    assert not any("rerun" in line for line in told if not line.startswith((name, "#"))), "they are told once"
