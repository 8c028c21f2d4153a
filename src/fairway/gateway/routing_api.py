"""The part of the admin API that is about who serves: explain, masks by hand, and the instances there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fairway.errors import ConflictError, FairwayError, UserError
from fairway.gateway.chronicle import actor_in
from fairway.gateway.explaining import Question, explain_here
from fairway.traffic.local_http import LocalAnswer, LocalRequest
from fairway.traffic.pin import load_pin_key
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import Digest

if TYPE_CHECKING:
    from fairway.gateway.parent import Gateway


class RoutingApi:
    """Answers for one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        """Take the gateway that is asked."""
        self._gateway = gateway

    async def handle(self, request: LocalRequest) -> LocalAnswer | None:
        """Answer one request; ``None`` when it is about something else."""
        asked = (request.method, request.path)
        try:
            if asked == ("POST", "/v1/explain"):
                return LocalAnswer.of(self._explain(_body(request)))
            if asked == ("POST", "/v1/mask"):
                return LocalAnswer.of(await self._mask(_body(request), actor_in(request)))
            if asked == ("GET", "/v1/instances"):
                return LocalAnswer.of({"instances": self._instances()})
            if asked == ("POST", "/v1/heartbeat"):
                now = time.time()
                return LocalAnswer.of(self._gateway.registry.announce(_body(request), now).to_wire(now))
        except FairwayError as error:
            status = 409 if isinstance(error, ConflictError) else 400
            text = f"{error.message} ({error.hint})" if error.hint else error.message
            return LocalAnswer.problem(status, error.code, text)
        return None

    def _explain(self, asked: object) -> dict[str, Any]:
        gateway = self._gateway
        if gateway.table is None:
            raise ConflictError("there is no table yet: every request is answered 503", code="no_table")
        found = explain_here(
            Question.from_wire(asked),
            gateway.table,
            gateway.decisions,
            fit=gateway.overseer.checker.fit,
            key=load_pin_key(gateway.state.pin_key),
            memory=gateway.state.memory,
            now=time.time(),
        )
        return {"source": "gateway", "confirmed": str(gateway.confirmed()), **found}

    async def _mask(self, asked: object, actor: str) -> dict[str, Any]:
        known = asked if isinstance(asked, dict) else {}
        name, masked = known.get("release"), known.get("masked")
        if set(known) != {"release", "masked"} or not isinstance(name, str) or not isinstance(masked, bool):
            hint = 'expected {"release": "<digest, version or role>", "masked": true or false}'
            raise UserError("not a mask", code="mask", hint=hint)
        gateway = self._gateway
        release = self._release(name, among=() if masked else gateway.decisions.masked)
        everywhere = await gateway.mask(release, on=masked, actor=actor)
        version = gateway.versions.get(release)
        return {
            "release": release,
            "version": version,
            "masked": masked,
            "all_masked": list(gateway.decisions.masked),
            "applied": everywhere,
            "kept": not gateway.keeper.missing,
        }

    def _release(self, name: str, *, among: tuple[str, ...]) -> Digest:
        """The release somebody means: of the table, or one that is masked already."""
        versions, table = self._gateway.versions, self._gateway.table
        for masked in among:  # also one that the table has no more, or has as a shadow
            if name in (masked, versions.get(masked)):
                return Digest(masked)
        arm = None if table is None else next((arm for arm in table.arms if name in _names(arm)), None)
        if arm is None:
            raise UserError(
                f"the table names no release {name!r}",
                code="no_such_release",
                hint="give a digest, version or role that `fairway gateway status` shows",
            )
        if arm.role is Role.SHADOW and arm.release not in among:
            raise UserError("a shadow serves nobody", code="mask_shadow", hint="end the mirror instead")
        return arm.release

    def _instances(self) -> list[dict[str, Any]]:
        gateway, now = self._gateway, time.time()
        table, overseer = gateway.table, gateway.overseer
        out = {
            (arm.release, shown["endpoint"])
            for arm in _arms(table)
            for shown in overseer.of_arm(arm)
            if shown.get("left_out_by")
        }
        found = gateway.registry.instances(
            table, overseer.checker.known, ejected=out, withheld=gateway.withheld(), now=now
        )
        return [instance.to_wire(now) for instance in found]


def _arms(table: RouteTable | None) -> tuple[Arm, ...]:
    return () if table is None else table.arms


def _names(arm: Arm) -> tuple[str, str, str]:
    return (arm.release, arm.version, arm.role.value)


def _body(request: LocalRequest) -> object:
    try:
        value: object = request.json()
    except (ValueError, RecursionError) as error:
        raise UserError(f"the body is not JSON: {error}", code="body", hint="send one JSON object") from error
    return value
