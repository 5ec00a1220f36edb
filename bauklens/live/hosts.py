"""The address that a server listens on, and its host names."""

import socket

from bauklens.errors import LensError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that lead nowhere else."""

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened at


def listener_at(host: str, port: int) -> socket.socket:
    """A socket that listens on this address.

    Raises:
        LensError: the port is taken, or the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise LensError(
            f"cannot listen on {host}, port {port}: {error}; pass another port, or 0 for a free one"
        ) from None
    listener.listen(128)
    return listener


def names_of(host: str) -> tuple[str, ...]:
    """The host names that a server may have."""
    if host in LOOPBACK:
        return LOOPBACK
    if host not in _EVERYWHERE:
        return (*LOOPBACK, host)
    name = socket.gethostname()
    addresses = {str(each[4][0]) for each in socket.getaddrinfo(name, None)} if name else set()
    return (*LOOPBACK, host, name.lower(), *addresses)


def address_of(host: str) -> str:
    """A host in the form for an address."""
    if host in _EVERYWHERE:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
