"""One script for each evil that a media host is known to do, by name."""

from tests.origin.server import Script

BY_NAME: dict[str, Script] = {}
