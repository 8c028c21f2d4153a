"""The ``rollout.rerun`` section of ``fairway.yaml``: which failed requests gateways run again on stable."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from fairway.section import Section
from fairway.traffic.rerun import Rerun, RerunWhen

_WHENS = tuple(when.value for when in RerunWhen)


def _when(value: object) -> object:
    if value not in _WHENS:
        raise ValueError(f"expected one of {', '.join(_WHENS)}")
    return value


class RerunSection(Section):
    """A request that failed on another release than stable, run again on stable, once.

    Attributes:
        when: ``masked`` (what fails on a release that was taken away meanwhile), ``on_failure`` (what fails on any
            release but stable), or ``never``.
        also: Requests that may be run twice though their method does not say so: ``POST /search``.
    """

    when: Annotated[str, BeforeValidator(_when), WithJsonSchema({"enum": list(_WHENS)})] = RerunWhen.MASKED.value
    also: Annotated[tuple[Annotated[str, Field(strict=True, max_length=1024)], ...], Field(max_length=100)] = ()

    @field_validator("also")
    @classmethod
    def _named(cls, also: tuple[str, ...]) -> tuple[str, ...]:
        Rerun(also=also)
        return also

    def table_rerun(self) -> Rerun:
        """As the route table has it."""
        return Rerun(when=RerunWhen(self.when), also=self.also)


def _short(value: object) -> object:
    """``on_failure`` is short for ``{when: on_failure}``."""
    return {"when": value} if isinstance(value, str) else value


RerunSetting = Annotated[
    RerunSection,
    BeforeValidator(_short),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(_WHENS)},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "when": {"enum": list(_WHENS)},
                        "also": {"type": "array", "items": {"type": "string"}},
                    },
                },
            ]
        }
    ),
]
