"""What a stage of a delivery is handed."""

from __future__ import annotations


class DeliveryContext:
    """Being written."""
