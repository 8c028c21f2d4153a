"""An OpenFeature provider over Fairway's flags, for agents in Python: ``pip install "fairway[openfeature]"``.

Within a request the gateway has decided already and says so in the request's headers; the provider repeats it, so that
a flag is the same for the whole request, whatever is set meanwhile. Outside a request it evaluates the flags in force
from the file the controller keeps beside the arms (``FAIRWAY_FLAGS``), by the same buckets as the gateway. No
evaluation uses the network. Reasons and error codes are those of the OpenFeature specification, section 2.2.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    FlagNotFoundError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from fairway.flags.file import VARIABLE, read_flags
from fairway.traffic.flags import HEADER_PREFIX, TableFlag, is_on
from fairway.traffic.keys import MAX_KEY_LENGTH
from fairway.units import WHOLE, Parts

TENANT = "tenant"
"""Attribute of the evaluation context that names the tenant."""
LOOK_EVERY_SECONDS = 1.0
"""How often the file is looked at, at most: what somebody sets is in force within that and the controller's tick."""

_VARIANTS = {"on": True, "off": False}
_request: ContextVar[Mapping[str, str] | None] = ContextVar("fairway_flags_of_request", default=None)

_Scope = MutableMapping[str, Any]
_Asgi = Callable[[_Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


@contextmanager
def in_request(headers: Mapping[str, str]) -> Iterator[None]:
    """Evaluate flags as the gateway decided them for one request, for as long as the block lasts.

    Args:
        headers: Of the request, names in any case.
    """
    said = {name.lower(): value for name, value in headers.items() if name.lower().startswith(HEADER_PREFIX)}
    token = _request.set(said)
    try:
        yield
    finally:
        _request.reset(token)


class FlagsOfRequest:
    """ASGI middleware: every request is handled within :func:`in_request`.

    Example::

        app.add_middleware(FlagsOfRequest)
    """

    def __init__(self, app: _Asgi) -> None:
        self._app = app

    async def __call__(
        self, scope: _Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Handle one connection."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        with in_request(headers):
            await self._app(scope, receive, send)


class FairwayProvider(AbstractProvider):
    """Evaluates Fairway's flags: booleans, ``on`` or ``off``.

    The targeting key is the unit of ``gateway.keys`` - the conversation - and the attribute ``tenant`` the tenant.

    Args:
        file: The flags in force; by default what ``FAIRWAY_FLAGS`` names. Without one only requests have flags.
        monotonic: Time.

    Example::

        api.set_provider(FairwayProvider())
        api.get_client().get_boolean_value("new-refunds", False, EvaluationContext("conversation-17"))
    """

    def __init__(self, file: Path | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        named = os.environ.get(VARIABLE)
        self._file = Path(named) if file is None and named else file
        self._monotonic = monotonic
        self._looked_at = -LOOK_EVERY_SECONDS
        self._stamp: tuple[int, int, int] | None = None
        self._flags: dict[str, TableFlag] | None = None
        self._trouble = ""

    def get_metadata(self) -> Metadata:
        """Its name."""
        return Metadata(name="fairway")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Whether the flag is on.

        Raises:
            FlagNotFoundError: It is not declared.
            TargetingKeyMissingError: It is on for a share, and the context does not say for whom.
            ProviderNotReadyError: Neither the request nor a file says anything about flags.
        """
        said = _request.get()
        if said is not None and (variant := said.get(f"{HEADER_PREFIX}{flag_key}")) in _VARIANTS:
            return FlagResolutionDetails(value=_VARIANTS[variant], reason=Reason.TARGETING_MATCH, variant=variant)
        flag = self._known(flag_key)
        context = evaluation_context or EvaluationContext()
        on, reason = _evaluated(flag, context)
        return FlagResolutionDetails(
            value=on,
            reason=Reason.STALE if self._trouble else reason,
            variant="on" if on else "off",
            flag_metadata={"share": float(flag.share) / WHOLE},
        )

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Never: a flag is a boolean."""
        self._mismatch(flag_key, "string")

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Never: a flag is a boolean."""
        self._mismatch(flag_key, "integer")

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Never: a flag is a boolean."""
        self._mismatch(flag_key, "float")

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Never: a flag is a boolean."""
        self._mismatch(flag_key, "object")

    def _mismatch(self, flag_key: str, wanted: str) -> NoReturn:
        if f"{HEADER_PREFIX}{flag_key}" not in (_request.get() or {}):
            self._known(flag_key)
        raise TypeMismatchError(f"flag {flag_key} is a boolean, not of type {wanted}")

    def _known(self, flag_key: str) -> TableFlag:
        self._look()
        if self._flags is None:
            raise ProviderNotReadyError(self._trouble or f"{VARIABLE} names no file, and this is not within a request")
        if flag_key not in self._flags:
            raise FlagNotFoundError(f"flag {flag_key} is not declared in fairway.yaml")
        return self._flags[flag_key]

    def _look(self) -> None:
        """Take over what changed; a file that cannot be read now leaves what was read last, as stale."""
        now = self._monotonic()
        if self._file is None or now - self._looked_at < LOOK_EVERY_SECONDS:
            return
        self._looked_at = now
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._take_over(read_flags(self._file))
                self._stamp = stamp
            self._trouble = ""
        except (OSError, ValueError) as error:
            self._trouble = f"the flags cannot be read: {error}"

    def _take_over(self, flags: dict[str, TableFlag]) -> None:
        before, self._flags = self._flags, flags
        if before is not None and before != flags:
            changed = [name for name in sorted({*before, *flags}) if before.get(name) != flags.get(name)]
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))


class _Tenant:
    """The tenant of an evaluation context, as the header it comes by."""

    def __init__(self, name: str, tenant: object) -> None:
        self._name, self._tenant = name, tenant

    def header(self, name: str) -> str | None:
        """The tenant under its header's name."""
        return self._tenant if name == self._name and isinstance(self._tenant, str) else None


def _evaluated(flag: TableFlag, context: EvaluationContext) -> tuple[bool, Reason]:
    """Whether it is on, and by what: the whole or nobody is static, one's own share targeting, a bucket a split."""
    tenant = context.attributes.get(TENANT)
    own = dict(flag.tenants).get(tenant) if flag.tenant_header and isinstance(tenant, str) else None
    share = flag.share if own is None else own
    key = context.targeting_key or None
    if share in (Parts(0), WHOLE):
        static = Reason.STATIC if own is None else Reason.TARGETING_MATCH
        return is_on(flag, _Tenant(flag.tenant_header, tenant), key), static
    if key is None or len(key) > MAX_KEY_LENGTH:
        raise TargetingKeyMissingError(f"flag {flag.name} is on for a share of conversations: say which one this is")
    return is_on(flag, _Tenant(flag.tenant_header, tenant), key), Reason.SPLIT
