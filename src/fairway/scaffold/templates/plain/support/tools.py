"""The tools the model may call. Each takes checked arguments and returns a JSON-able result.

A result with the key ``error`` tells the model what was wrong, so that it can do better.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from support.bundle import ToolSpec, load_tools
from support.shop import open_shop

_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """One call: what the model asked for, and what came of it."""

    name: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    diverged: bool = False  # only in a replay: the real tool might have said something else

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return "error" not in self.result


class Toolbox:
    """Runs tools by name; the names must be those of ``tools.yaml``.

    With ``replay`` the shop is a stand-in for the real one: a tool that fails there is noted as diverged.
    """

    def __init__(self, specs: Iterable[ToolSpec], shop: sqlite3.Connection, *, replay: bool = False) -> None:
        self.replay = replay
        self._specs = {spec.name: spec for spec in specs}
        functions: dict[str, Callable[..., Any]] = {
            "lookup_order": lookup_order,
            "search_products": search_products,
            "request_refund": request_refund,
            "create_exchange": create_exchange,
        }
        unknown = sorted(set(self._specs) - set(functions))
        if unknown:
            raise LookupError(f"tools.yaml declares {', '.join(unknown)}, which support/tools.py does not have")
        self._functions = functions
        self._shop = shop

    def definitions(self) -> list[dict[str, Any]]:
        """The tools as a model is told of them."""
        return [
            {
                "type": "function",
                "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
            }
            for spec in self._specs.values()
        ]

    async def call(self, name: str, arguments: str) -> ToolUse:
        """Run a tool with the JSON arguments the model wrote.

        Raises:
            ValueError: The arguments are not a JSON object: the model broke off, and its call means nothing.
        """
        parsed = json.loads(arguments or "{}")
        if not isinstance(parsed, dict):
            raise ValueError("the arguments are not an object")
        spec = self._specs.get(name)
        if spec is None:
            return ToolUse(name=name, arguments=parsed, result={"error": f"there is no tool {name}"})
        problem = check_arguments(spec.parameters, parsed)
        if problem:
            return ToolUse(name=name, arguments=parsed, result={"error": problem})
        result = self._functions[name](self._shop, **parsed)
        if inspect.isawaitable(result):  # a tool that calls out is async, and held to its time limit
            result = await asyncio.wait_for(result, spec.timeout_seconds)
        return ToolUse(name=name, arguments=parsed, result=result, diverged=self.replay and "error" in result)


def check_arguments(schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """What is wrong with the arguments, or ``None``; knows required, unknown and mistyped ones."""
    properties = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in arguments:
            return f"{name} is required"
    for name, value in arguments.items():
        if name not in properties:
            return f"{name} is not an argument of this tool"
        kind = properties[name].get("type")
        if kind in _TYPES and not isinstance(value, _TYPES[kind]):
            return f"{name} must be of type {kind}"
    return None


def lookup_order(shop: sqlite3.Connection, order_id: str) -> dict[str, Any]:
    """An order with its product, status and dates."""
    row = shop.execute(
        "SELECT o.*, p.name AS product, p.price_cents "
        "FROM orders o JOIN products p ON p.id = o.product_id WHERE o.id = ?",
        (order_id,),
    ).fetchone()
    if row is None:
        return {"error": f"order {order_id} was not found"}
    return {
        "order_id": row["id"],
        "product": row["product"],
        "product_id": row["product_id"],
        "status": row["status"],
        "total": price(row["price_cents"]),
        "ordered_on": row["ordered_on"],
        "due_on": row["due_on"],
        "carrier": row["carrier"],
        "refundable": row["status"] != "processing",
    }


def search_products(shop: sqlite3.Connection, query: str, limit: int = 3) -> dict[str, Any]:
    """Products whose name contains a word of the query."""
    words = [word for word in query.lower().replace("-", " ").split() if len(word) > 2][:6]
    rows = shop.execute("SELECT * FROM products ORDER BY id").fetchall()
    ranked = sorted(rows, key=lambda row: -sum(word in row["name"] for word in words))
    found = [row for row in ranked if any(word in row["name"] for word in words)][: max(1, limit)]
    products = [
        {"product_id": row["id"], "name": row["name"], "price": price(row["price_cents"]), "stock": row["stock"]}
        for row in found
    ]
    return {"products": products, "count": len(products)}


def request_refund(shop: sqlite3.Connection, order_id: str, reason: str) -> dict[str, Any]:
    """Ask for a refund; a colleague checks it and pays it out. Asking twice is asking once."""
    order = lookup_order(shop, order_id)
    if "error" in order:
        return order
    if not order["refundable"]:
        return {"error": f"order {order_id} is {order['status']} and cannot be refunded yet"}
    shop.execute(
        "INSERT OR IGNORE INTO refunds (order_id, reason, amount_cents) "
        "SELECT o.id, ?, p.price_cents FROM orders o JOIN products p ON p.id = o.product_id WHERE o.id = ?",
        (reason, order_id),
    )
    refund = shop.execute("SELECT id FROM refunds WHERE order_id = ?", (order_id,)).fetchone()
    return {"refund_id": f"R-{refund['id']}", "order_id": order_id, "amount": order["total"], "status": "requested"}


def create_exchange(shop: sqlite3.Connection, order_id: str, new_product_id: str) -> dict[str, Any]:
    """Exchange what was ordered for another product. Asking twice is asking once."""
    order = lookup_order(shop, order_id)
    if "error" in order:
        return order
    product = shop.execute("SELECT * FROM products WHERE id = ?", (new_product_id,)).fetchone()
    if product is None:
        return {"error": f"there is no product {new_product_id}"}
    shop.execute("INSERT OR IGNORE INTO exchanges (order_id, product_id) VALUES (?, ?)", (order_id, new_product_id))
    exchange = shop.execute("SELECT id FROM exchanges WHERE order_id = ?", (order_id,)).fetchone()
    return {"exchange_id": f"E-{exchange['id']}", "order_id": order_id, "product": product["name"], "status": "created"}


def price(cents: int) -> str:
    """``4500`` as ``45.00 EUR``."""
    return f"{cents / 100:.2f} EUR"


def main() -> None:
    """Call the tool named by ``FAIRWAY_TOOL`` with the arguments given as JSON; prints its result."""
    use = asyncio.run(Toolbox(load_tools(), open_shop()).call(os.environ["FAIRWAY_TOOL"], sys.argv[1]))
    print(json.dumps(use.result))


if __name__ == "__main__":
    main()
