"""The shop's database: SQLite, seeded here so that the agent has something to talk about."""

from __future__ import annotations

import sqlite3

PRODUCTS: tuple[tuple[str, str, int, int], ...] = (  # id, name, price in cents, pieces in stock
    ("P-101", "rain jacket", 7900, 14),
    ("P-102", "wool scarf", 2900, 31),
    ("P-103", "desk lamp", 4500, 9),
    ("P-104", "coffee mug", 1200, 120),
    ("P-105", "backpack", 6400, 17),
    ("P-106", "water bottle", 1900, 54),
    ("P-107", "notebook", 800, 200),
    ("P-108", "travel pillow", 2400, 22),
    ("P-109", "headphones", 9900, 6),
    ("P-110", "tea kettle", 5200, 0),
)
STATUSES = ("delivered", "shipped", "delivered", "processing")
FIRST_ORDER, ORDERS = 1001, 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS products (id TEXT PRIMARY KEY, name TEXT, price_cents INTEGER, stock INTEGER);
CREATE TABLE IF NOT EXISTS orders (
  id TEXT PRIMARY KEY, product_id TEXT REFERENCES products, status TEXT, ordered_on TEXT, due_on TEXT, carrier TEXT);
CREATE TABLE IF NOT EXISTS refunds (id INTEGER PRIMARY KEY, order_id TEXT UNIQUE, reason TEXT, amount_cents INTEGER);
CREATE TABLE IF NOT EXISTS exchanges (id INTEGER PRIMARY KEY, order_id TEXT UNIQUE, product_id TEXT);
"""


def open_shop(path: str = ":memory:") -> sqlite3.Connection:
    """Connect to the shop; an empty database is filled with its products and orders."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.executescript(_SCHEMA)
    if not connection.execute("SELECT 1 FROM products LIMIT 1").fetchone():
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO products VALUES (?, ?, ?, ?)", PRODUCTS)
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", map(_order, range(ORDERS)))
        connection.execute("COMMIT")
    return connection


def _order(number: int) -> tuple[str, str, str, str, str, str]:
    product = PRODUCTS[number % len(PRODUCTS)][0]
    status = STATUSES[number % len(STATUSES)]
    month, day = 1 + number % 9, 1 + number % 24
    carrier = ("Postal Star", "Swift Parcel", "Green Wheels")[number % 3]
    due = f"2026-{month:02d}-{day + 4:02d}"
    return str(FIRST_ORDER + number), product, status, f"2026-{month:02d}-{day:02d}", due, carrier
