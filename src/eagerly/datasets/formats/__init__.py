"""Formats of datasets: what people import who want to know which there are, or to bring one of their own."""

from __future__ import annotations

from eagerly.datasets.formats._format import Format, ItemWriter
from eagerly.datasets.formats._library import type_name
from eagerly.datasets.formats._registry import format_for, formats, register_format, unregister_format

__all__ = ["Format", "ItemWriter", "format_for", "formats", "register_format", "type_name", "unregister_format"]
