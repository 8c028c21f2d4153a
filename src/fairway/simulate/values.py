"""What agents say of modelled traffic: cost, tokens, a judge's score and users' feedback, added to its blocks.

Nothing here is measured; what is modelled is stated. A conversation has a lasting character of its own (some always
cost several times as much), costs grow with its first turns, and weather moves the level of both arms alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist

from fairway.observe.fold import ArmBlock, Block
from fairway.simulate.traffic import calm
from fairway.traffic.table import Role
from fairway.units import UnitHash

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueModel:
    """What the agent of one release says of its requests; ``None``: never anything.

    Attributes:
        cost: Median dollars of a request.
        tokens: Median tokens of a request.
        score: Mean score.
        feedback: Share of those who give feedback that are content.
        says: Share of requests of which it says cost, tokens and a score.
        rated: Share of conversations that give feedback, each block they are there, until they have.
    """

    cost: float | None = 0.01
    tokens: float | None = 900.0
    score: float | None = 0.8
    feedback: float | None = 0.7
    says: float = 1.0
    rated: float = 0.2


@dataclass(slots=True, kw_only=True)
class ModelledValues:
    """Adds values to blocks, one after the other; the same seed and blocks give the same values.

    Attributes:
        seed: Of everything random.
        stable, candidate: The two releases.
        character: Standard deviation of the log of what a conversation costs, for good.
        spread: The same of one request.
        aging: The log cost grows by this much each of the first three blocks of a conversation.
        weather: Level of cost and tokens, and divisor of scores, for both arms, by the number of the block.
        onset: Number of the block from which the candidate says what it is modelled to; as stable before.
    """

    seed: int
    stable: ValueModel = field(default_factory=ValueModel)
    candidate: ValueModel = field(default_factory=ValueModel)
    character: float = 0.5
    spread: float = 0.5
    aging: float = 0.0
    weather: Callable[[int], float] = calm
    onset: int = 0
    _rng: random.Random = field(init=False)
    _index: int = field(default=0, init=False)
    _began: dict[UnitHash, int] = field(default_factory=dict, init=False)
    _rated: set[UnitHash] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311 - modelled traffic, not a secret

    def of(self, block: Block) -> Block:
        """The next block, with what agents say."""
        arms = {release: self._with_values(arm) for release, arm in block.arms.items()}
        self._index += 1
        return replace(block, arms=arms)

    def _with_values(self, arm: ArmBlock) -> ArmBlock:
        late = arm.role is Role.CANDIDATE and self._index >= self.onset
        model = self.candidate if late else self.stable
        found: dict[str, dict[UnitHash, tuple[int, int]]] = {"cost": {}, "feedback": {}, "score": {}, "tokens": {}}
        rng, level, gauss = self._rng, self.weather(self._index), self._rng.gauss
        for unit in arm.active:
            lasting = _character(unit) * self.character
            age = min(3, self._index - self._began.setdefault(unit, self._index))
            if rng.random() < model.says:
                size = level * math.exp(lasting + gauss(0.0, self.spread) + self.aging * age)
                if model.cost is not None:
                    found["cost"][unit] = (round(model.cost * size * 1e6), 1)
                if model.tokens is not None:
                    found["tokens"][unit] = (round(model.tokens * size), 1)
                if model.score is not None:
                    found["score"][unit] = (_millionths(model.score / level + 0.1 * lasting + gauss(0.0, 0.15)), 1)
            if model.feedback is not None and unit not in self._rated and rng.random() < model.rated:
                self._rated.add(unit)
                content = rng.random() < model.feedback / level + 0.1 * lasting
                found["feedback"][unit] = (1_000_000 * content, 1)
        return replace(arm, values={kind: values for kind, values in found.items() if values})


@lru_cache(maxsize=1 << 18)
def _character(unit: UnitHash) -> float:
    """How a conversation is, by its hash: a standard normal, the same on whichever arm."""
    share = int.from_bytes(blake2b(unit.encode(), digest_size=4).digest(), "big") / 2**32
    return _NORMAL.inv_cdf(min(max(share, 1e-6), 1 - 1e-6))


def _millionths(value: float) -> int:
    return round(min(1.0, max(0.0, value)) * 1e6)


def rescaled(block: Block, factors: Mapping[str, int]) -> Block:
    """The block with every value of a kind multiplied by a whole number: cents for dollars."""
    return replace(block, arms={release: _scaled(arm, factors) for release, arm in block.arms.items()})


def _scaled(arm: ArmBlock, factors: Mapping[str, int]) -> ArmBlock:
    values = {
        kind: {unit: (total * factors.get(kind, 1), count) for unit, (total, count) in by_unit.items()}
        for kind, by_unit in arm.values.items()
    }
    return replace(arm, values=values)
