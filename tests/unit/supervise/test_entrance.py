"""How clients come in is taken from the project, and a certificate that does not serve is told with its line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fairway.errors import ProjectFileError
from fairway.project.load import Project, load_project
from fairway.supervise.entrance import checked_certificate, listening_options, look_at_certificate
from fairway.supervise.examined import CheckStatus
from fairway.supervise.processes import Processes
from fairway.testing.certificates import key_pair, written

PROJECT = """version: 1
agent: {name: shop}
service: {command: "sh app.sh {port}"}
gateway:
  host: "::1"
  port: 0
  admin_port: 0
  tls:
    certificate: tls.crt
    key: tls.key
  proxy_protocol: {from: [10.0.0.0/8, "2001:db8::/32"]}
  trusted_proxies: [192.0.2.7]
"""


def project(folder: Path, text: str = PROJECT) -> Project:
    (folder / "fairway.yaml").write_text(text)
    return load_project(folder)


def test_the_gateway_is_started_with_what_the_project_says(tmp_path: Path) -> None:
    assert listening_options(project(tmp_path)) == (
        "--tls-certificate", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key"),
        "--proxy-protocol", "10.0.0.0/8", "--proxy-protocol", "2001:db8::/32", "--trusted-proxy", "192.0.2.7/32",
    )  # fmt: skip


def test_a_project_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    plain = project(tmp_path, PROJECT[: PROJECT.index("gateway:")])
    assert listening_options(plain) == ()
    assert checked_certificate(plain) is None
    assert list(look_at_certificate(plain)) == []


def test_a_certificate_elsewhere_is_named_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    text = PROJECT.replace("tls.crt", str(tmp_path / "tls.crt")).replace("tls.key", "../tls.key")
    written(key_pair(), tmp_path)
    assert checked_certificate(project(tmp_path / "project", text)) is not None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "fairway.yaml:9:18: gateway.tls.certificate: the TLS certificate .* cannot be read"),
        (
            lambda folder: written(key_pair(ends=timedelta(minutes=-1)), folder),
            "fairway.yaml:9:18: gateway.tls.certificate: the TLS certificate has expired",
        ),
        (
            lambda folder: written(key_pair(), folder).key.write_bytes(key_pair().key),
            "fairway.yaml:10:10: gateway.tls.key: the TLS key is not that of the certificate",
        ),
    ],
    ids=["missing", "expired", "mismatch"],
)
def test_a_certificate_that_does_not_serve_is_told_with_file_line_and_key_before_anything_starts(
    tmp_path: Path, make: object, said: str
) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(ProjectFileError, match=said) as caught:
        checked_certificate(project(tmp_path))
    assert (caught.value.code, bool(caught.value.hint)) == ("tls", True)
    with pytest.raises(ProjectFileError, match=said):
        Processes(project(tmp_path), environment="production")


def test_clients_are_told_to_call_by_https_and_an_ipv6_address_in_brackets(tmp_path: Path) -> None:
    written(key_pair(), tmp_path)
    processes = Processes(project(tmp_path), environment="production")
    try:
        assert processes.url == f"https://[::1]:{processes.ports.gateway}"
    finally:
        processes.close()


@pytest.mark.parametrize(("days", "status"), [(13, CheckStatus.WARN), (15, CheckStatus.OK)])
def test_a_certificate_that_ends_soon_is_told_of(tmp_path: Path, days: int, status: CheckStatus) -> None:
    written(key_pair(ends=timedelta(days=days)), tmp_path)
    (check,) = look_at_certificate(project(tmp_path))
    assert check.status is status


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  trusted_proxies: [10.0.0.1/8]", "gateway.trusted_proxies.*is no network"),
        ("  proxy_protocol: {from: []}", "gateway.proxy_protocol.from"),
        ("  tls: {certificate: a}", "gateway.tls.*key"),
        ("  timeouts: {head: 0s}", "head must be above 0"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    text = PROJECT[: PROJECT.index("  tls:")] + line + "\n"
    with pytest.raises(ProjectFileError, match=rf"fairway.yaml:8:.*{said}"):
        project(tmp_path, text)
