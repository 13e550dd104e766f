"""Equipoise: inference on unequal edge boards, fast enough and accurate enough."""

__version__ = "0.1.0"
