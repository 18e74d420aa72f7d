"""``python -m tests.web.impatient`` is ``python -m web`` with next to no patience for an artifact store."""

import sys
from collections.abc import Callable
from typing import Any

from web import server
from web.__main__ import main

SECONDS = 0.2


class Impatient(server.Server):
    """The server whose workers wait for SECONDS."""

    def load(self) -> Callable[..., Any]:
        """See Server."""
        app = super().load()
        from web import stored

        stored.LOCATE_SECONDS = stored.LOOK_SECONDS = stored.REMOVE_SECONDS = SECONDS
        return app


if __name__ == "__main__":
    server.Server = Impatient
    sys.exit(main())
