"""The tools over the shop, and what happens to arguments a model gets wrong."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest

from support.bundle import ToolSpec, load_tools
from support.tools import Toolbox, check_arguments, main, search_products


def call(toolbox: Toolbox, name: str, **arguments: object) -> dict[str, object]:
    return asyncio.run(toolbox.call(name, json.dumps(arguments))).result


def test_an_order_is_found_with_its_product_and_status(toolbox: Toolbox) -> None:
    order = call(toolbox, "lookup_order", order_id="1002")
    assert (order["product"], order["status"], order["refundable"]) == ("wool scarf", "shipped", True)


def test_an_unknown_order_is_an_error_the_model_can_read(toolbox: Toolbox) -> None:
    assert call(toolbox, "lookup_order", order_id="9999") == {"error": "order 9999 was not found"}


@pytest.mark.parametrize(
    ("query", "names"), [("desk lamp", ["desk lamp"]), ("a warm scarf", ["wool scarf"]), ("surfboard", [])]
)
def test_products_are_found_by_words_of_their_name(shop: sqlite3.Connection, query: str, names: list[str]) -> None:
    assert [product["name"] for product in search_products(shop, query)["products"]] == names


def test_a_refund_asked_for_twice_is_one_refund(toolbox: Toolbox) -> None:
    first = call(toolbox, "request_refund", order_id="1003", reason="broken")
    assert first["status"] == "requested"
    assert call(toolbox, "request_refund", order_id="1003", reason="broken") == first


def test_an_order_that_has_not_left_is_not_refunded(toolbox: Toolbox) -> None:
    assert "cannot be refunded" in str(call(toolbox, "request_refund", order_id="1004", reason="?")["error"])
    assert "not found" in str(call(toolbox, "request_refund", order_id="9999", reason="?")["error"])


def test_an_exchange_needs_a_product_that_exists(toolbox: Toolbox) -> None:
    assert call(toolbox, "create_exchange", order_id="1003", new_product_id="P-103")["product"] == "desk lamp"
    assert "no product" in str(call(toolbox, "create_exchange", order_id="1003", new_product_id="P-999")["error"])
    assert "not found" in str(call(toolbox, "create_exchange", order_id="9999", new_product_id="P-103")["error"])


def test_a_missing_argument_is_named(toolbox: Toolbox) -> None:
    assert call(toolbox, "create_exchange", order_id="1003") == {"error": "new_product_id is required"}


def test_unknown_and_mistyped_arguments_are_named() -> None:
    schema = {"properties": {"limit": {"type": "integer"}}}
    assert check_arguments(schema, {"limt": 1}) == "limt is not an argument of this tool"
    assert check_arguments(schema, {"limit": "three"}) == "limit must be of type integer"
    assert check_arguments(schema, {"limit": 3}) is None


def test_a_tool_that_is_not_there_is_an_error_the_model_can_read(toolbox: Toolbox) -> None:
    assert call(toolbox, "fly") == {"error": "there is no tool fly"}


def test_arguments_that_are_not_an_object_cannot_be_read(toolbox: Toolbox) -> None:
    for arguments in ('{"order_id": "10', "[1]"):
        with pytest.raises(ValueError):  # noqa: PT011 - json's own error counts too
            asyncio.run(toolbox.call("lookup_order", arguments))


def test_the_manifest_and_the_code_agree(shop: sqlite3.Connection) -> None:
    specs = load_tools({})
    assert {spec.name for spec in specs} == {
        definition["function"]["name"] for definition in Toolbox(specs, shop).definitions()
    }
    stranger = ToolSpec(name="fly", description="", parameters={}, timeout_seconds=1.0)
    with pytest.raises(LookupError, match="fly"):
        Toolbox([stranger], shop)


def test_a_replayed_call_that_the_stand_in_cannot_answer_is_noted(shop: sqlite3.Connection) -> None:
    toolbox = Toolbox(load_tools({}), shop, replay=True)

    def diverged(name: str, **arguments: object) -> bool:
        return asyncio.run(toolbox.call(name, json.dumps(arguments))).diverged

    assert diverged("lookup_order", order_id="9999")
    assert not diverged("lookup_order", order_id="1001")
    assert not diverged("create_exchange", order_id="1001"), "a call the model got wrong is wrong anywhere"


def test_a_tool_can_be_called_from_a_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FAIRWAY_BUNDLE", raising=False)
    monkeypatch.setenv("FAIRWAY_TOOL", "search_products")
    monkeypatch.setattr("sys.argv", ["tools.py", '{"query": "lamp"}'])
    main()
    assert json.loads(capsys.readouterr().out)["count"] == 1
