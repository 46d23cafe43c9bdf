"""A certificate made on the spot, for clients that speak only ``wss://``, such as the official one for Node.

By `trustme`, of the people who make trio: made for tests, maintained, and its own only dependencies are cryptography and idna.
The authority's private key is never written; only its certificate is, for the client to trust.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from ..errors import MissingExtra


def make_certificate(host: str) -> tuple[ssl.SSLContext, Path]:
    """Make an authority and a certificate for this machine.

    Returns:
        What the server serves with, and the file with the authority's certificate in PEM.

    Raises:
        MissingExtra: If `trustme` is not installed.
    """
    try:
        import trustme
    except ImportError:
        raise MissingExtra('TLS needs trustme; pip install "realtime-history-kit[tls]" brings it') from None
    authority = trustme.CA(organization_name="realtime-history-kit stand-in")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", host))
    authority.issue_cert(*(name for name in names if name not in ("0.0.0.0", "::"))).configure_cert(context)
    folder = Path(tempfile.mkdtemp(prefix="kit-standin-"))
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return context, path
