"""Secrets in files: detect-secrets with its plugins pinned, and shapes of our own where it is weak.

Nothing is verified over the network. A line that carries ``pragma: allowlist secret`` in a comment is left alone where
the finding is below HIGH; above, a comment that anybody can write is no answer: that takes a waiver. What is found is
shown by its first four characters at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.scan import scan_file
from detect_secrets.filters.allowlist import get_allowlist_regexes
from detect_secrets.settings import transient_settings

from fairway.bundle.secret_shapes import is_secret_file
from fairway.security.findings import SecurityFinding, Severity

LARGEST_FILE = 2 * 1024 * 1024
"""Bytes; a larger file is data, looked through for the shapes of secrets only, block by block."""

_BLOCK = 1024 * 1024
_OVERLAP = 8 * 1024
"""Bytes of one block that are seen again with the next: longer than any key."""

PLUGINS = (
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector",
    "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "IbmCloudIamDetector",
    "IbmCosHmacDetector", "JwtTokenDetector", "KeywordDetector", "MailchimpDetector", "NpmDetector", "OpenAIDetector",
    "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector", "SoftlayerDetector",
    "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
)  # fmt: skip
"""By name, so that an upgrade of the library adds no plugin unseen; public IP addresses are no secrets."""

_ENTROPY = (
    {"name": "Base64HighEntropyString", "limit": 4.8},
    {"name": "HexHighEntropyString", "limit": 3.5},
)
_FILTERS = (
    "detect_secrets.filters.heuristic.is_indirect_reference",
    "detect_secrets.filters.heuristic.is_likely_id_string",
    "detect_secrets.filters.heuristic.is_not_alphanumeric_string",
    "detect_secrets.filters.heuristic.is_potential_uuid",
    "detect_secrets.filters.heuristic.is_prefixed_with_dollar_sign",
    "detect_secrets.filters.heuristic.is_sequential_string",
    "detect_secrets.filters.heuristic.is_templated_secret",
)

_SHAPES: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("secret/private-key", "a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("secret/api-key", "an API key", re.compile(r"\bsk-(?:[a-z0-9]{2,12}-)*[A-Za-z0-9_-]{16,}")),
    ("secret/aws-key", "an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("secret/github-token", "a GitHub token", re.compile(r"\b(?:gh[pousr]_\w{36,}|github_pat_\w{40,})")),
    ("secret/gitlab-token", "a GitLab token", re.compile(r"\bglpat-[\w-]{20,}")),
    ("secret/google-key", "a Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("secret/huggingface-token", "a Hugging Face token", re.compile(r"\bhf_[A-Za-z]{30,}\b")),
    ("secret/provider-key", "a model provider's key", re.compile(r"\b(?:gsk_|xai-|pplx-|r8_)\w{37,}")),
    ("secret/tracing-key", "a tracing service's key", re.compile(r"\b(?:lsv2_(?:pt|sk)_\w{30,}|sk-lf-[\w-]{30,})")),
    ("secret/slack-token", "a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}")),
    ("secret/stripe-key", "a live Stripe key", re.compile(r"\b[rs]k_live_[0-9A-Za-z]{20,}")),
)  # fmt: skip

_ENTROPY_TYPES = frozenset({"Base64 High Entropy String", "Hex High Entropy String"})
_CERTAIN_TYPES = frozenset({"Private Key", "AWS Access Key", "GitHub Token", "GitLab Token", "OpenAI Token"})
_LOCK_FILES = re.compile(
    r"(^|/)([^/]*\.lock|package-lock\.json|npm-shrinkwrap\.json|go\.sum|[^/]*requirements[^/]*\.txt)$"
)
_DIGEST = re.compile(r"^(?:(?:sha(?:256|384|512)|md5)[:-])?[0-9a-fA-F]{32,128}$")
_REFERENCE = re.compile(r"^(?:env|file|sops|vault|k8s|aws-sm):\S+$")
_PLACEHOLDER = re.compile(
    r"(?i)^(?:.*[\W_])?(?:mock|test|testing|dummy|fake|example|placeholder|changeme|change[-_]me|your|none|null|unused|sample"
    r"|not[-_ ]?(?:needed|used|set|a[-_ ]secret)|x{3,}|todo|local|redacted)(?:[\W_].*)?$"
)
_LONGEST_PLACEHOLDER = 40
_COMMENT_IS_NONE = "; the comment that allows it does not count in a release, a waiver does"
_COMMENTS = (("#", ""), ("//", ""), (r"/\*", r" *\*/"), ("--", ""), (r"<!--[# \t]*?", " *?-->"))


def redact(secret: str) -> str:
    """At most the first four characters of a secret, none of a short one."""
    return f"{secret[:4]}…" if len(secret) >= 12 else "…"


def scan_secrets(root: Path, files: Sequence[str]) -> tuple[list[SecurityFinding], list[str]]:
    """Look for secrets in files.

    Args:
        root: The examined content.
        files: Relative paths below it; symlinks are left out.

    Returns:
        Findings, and files that were so large that only the shapes of secrets were looked for.
    """
    findings: list[SecurityFinding] = []
    partly: list[str] = []
    settings = {
        "plugins_used": [*_ENTROPY, *({"name": name} for name in PLUGINS)],
        "filters_used": [{"path": path} for path in _FILTERS],
    }
    with transient_settings(settings):
        for file in files:
            path = root / file
            if is_secret_file(file):
                findings.append(_committed_file(file))
            if path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size > LARGEST_FILE:
                partly.append(file)
                findings += _large(path, file)
                continue
            content = path.read_bytes()
            own = list(_own_shapes(file, content))
            findings += own
            findings += _library(path, file, content, already={finding.line for finding in own})
    return findings, partly


def _large(path: Path, file: str) -> Iterator[SecurityFinding]:
    """Shapes of secrets in a file that is not held whole."""
    line, kept = 1, b""
    with path.open("rb") as handle:
        block = handle.read(_BLOCK)
        while block:
            content, following = kept + block, handle.read(_BLOCK)
            yield from _own_shapes(file, content, first_line=line, goes_on=bool(following))
            cut = max(0, len(content) - _OVERLAP)
            line += content.count(b"\n", 0, cut)
            kept, block = content[cut:], following


def _committed_file(file: str) -> SecurityFinding:
    name = PurePosixPath(file).name
    return SecurityFinding(
        rule="secret/file",
        severity=Severity.CRITICAL,
        file=file,
        line=None,
        message=f"{name} is a file of secrets and must not be committed; add it to .gitignore and change what it held",
        source="fairway",
    )


def _own_shapes(file: str, content: bytes, *, first_line: int = 1, goes_on: bool = False) -> Iterator[SecurityFinding]:
    """What is certain by its shape; a match at the end of content that goes on is left for the next block."""
    text = content.decode("utf-8", "replace")
    lines: list[str] | None = None
    for rule, what, shape in _SHAPES:
        for match in shape.finditer(text):
            if goes_on and match.end() == len(text):
                continue
            number = text.count("\n", 0, match.start()) + 1
            lines = text.split("\n") if lines is None else lines
            severity = Severity.LOW if _is_placeholder(match.group()) else Severity.CRITICAL
            allowed = _allowed(lines, number)
            if allowed and severity.rank < Severity.HIGH.rank:
                continue
            message = f"{what} ({redact(match.group())}); refer to it as env:NAME and change it, it is known now"
            yield SecurityFinding(
                rule=rule,
                severity=severity,
                file=file,
                line=first_line + number - 1,
                message=message + (_COMMENT_IS_NONE if allowed else ""),
                source="fairway",
            )


def _allowed(lines: list[str], number: int) -> bool:
    """Whether a line, or the line before it, carries the comment that allows it."""
    line, before = lines[number - 1].rstrip("\r"), lines[number - 2].rstrip("\r") if number > 1 else ""
    return any(get_allowlist_regexes(comment, False).search(line) for comment in _COMMENTS) or any(
        get_allowlist_regexes(comment, True).search(before) for comment in _COMMENTS
    )


def _is_placeholder(secret: str) -> bool:
    return len(secret) <= _LONGEST_PLACEHOLDER and bool(_PLACEHOLDER.match(secret))


def _library(path: Path, file: str, content: bytes, *, already: set[int | None]) -> Iterator[SecurityFinding]:
    """What detect-secrets finds, but for lines where a more certain shape was found."""
    lines = content.decode("utf-8", "replace").split("\n")
    for found in scan_file(str(path)):
        secret = found.secret_value or ""
        if found.line_number in already or _REFERENCE.match(secret):
            continue
        severity = _severity(found, file, secret)
        if severity is None:
            continue
        allowed = 0 < found.line_number <= len(lines) and _allowed(lines, found.line_number)
        if allowed and severity.rank < Severity.HIGH.rank:
            continue
        yield SecurityFinding(
            rule="secret/" + re.sub(r"[^a-z0-9]+", "-", found.type.lower()).strip("-"),
            severity=severity,
            file=file,
            line=found.line_number or None,
            message=f"looks like a secret: {found.type.lower()} ({redact(secret)})"
            + (_COMMENT_IS_NONE if allowed else ""),
            source="detect-secrets",
        )


def _severity(found: PotentialSecret, file: str, secret: str) -> Severity | None:
    """How sure and how bad; ``None``: noise (a digest in a lock file)."""
    if found.type in _ENTROPY_TYPES:
        if _LOCK_FILES.search(file) or _DIGEST.match(secret):
            return None
        return Severity.MEDIUM
    if _is_placeholder(secret):
        return Severity.LOW
    return Severity.CRITICAL if found.type in _CERTAIN_TYPES else Severity.HIGH
