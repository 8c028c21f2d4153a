"""A model asked under the run's limits: places at the endpoint, the spend cap, another try where that is right."""

from __future__ import annotations

from fairway.evals.running.calling import Caller
from fairway.evals.running.spend import Pricing
from fairway.evals.subjects.model import completion_cost, request_cost_at_most
from fairway.llm.values import Completion, CompletionRequest, ModelClient


class CountedClient:
    """`ModelClient` around another, for one model of a panel; asking leaves nothing behind, so it may be repeated."""

    def __init__(self, client: ModelClient, caller: Caller, *, model: str, prices: Pricing) -> None:
        """Take what a call needs.

        Args:
            client: Asks once.
            caller: Places, tries and the cap.
            model: A name the model goes by among the prices.
            prices: Of the project.
        """
        self._client = client
        self._caller = caller
        self._model = model
        self._prices = prices

    def cost_of(self, completion: Completion) -> int | None:
        """What an answer cost, in millionths of a US dollar; ``None``: its tokens or its price are not known."""
        return completion_cost(completion, self._model, self._prices)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask.

        Raises:
            TransientError: After the last try.
            PermanentError: Refused for good.
            SpendError: The cap leaves no room.
            PriceError: There is a cap, and a price is not known.
        """
        return await self._caller.call(
            lambda: self._client.complete(request),
            cost_of=self.cost_of,
            at_most=request_cost_at_most(request, self._model, self._prices),
            repeatable=True,
        )
