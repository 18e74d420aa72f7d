"""One Swift server in this process: ``python -m tests.swift.serve CONFIG SOCKET_FD``.

Ends when its standard input does, so it cannot outlive whoever started it, however that one ended.
"""

import os
import sys
from threading import Thread


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Load the application of CONFIG and serve it on the listening socket that was handed down."""
    # A native thread, begun before Swift patches the threading module.
    Thread(target=_end_with_parent, daemon=True).start()
    import warnings

    warnings.simplefilter("ignore")
    import socket

    from swift.common import utils

    # Otherwise read from /etc/swift/swift.conf.
    utils.HASH_PATH_SUFFIX = b"tests"

    utils.monkey_patch()
    import eventlet
    import eventlet.wsgi
    from swift.common import wsgi

    application = wsgi.loadapp(sys.argv[1])
    listener = eventlet.greenio.GreenSocket(socket.socket(fileno=int(sys.argv[2])))
    eventlet.wsgi.server(
        listener,
        application,
        log_output=False,
        debug=False,
        max_size=256,
        minimum_chunk_size=65536,
        capitalize_response_headers=False,
    )


if __name__ == "__main__":
    main()
