"""A real HTTP server for tests that misbehaves on request. See ``server`` and ``faults``."""

from tests.origin.server import Call, Origin, Resource, media_bytes

__all__ = ["Call", "Origin", "Resource", "media_bytes"]
