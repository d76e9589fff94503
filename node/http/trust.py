"""Whose certificates are trusted where we connect with TLS, and which is ours."""

from __future__ import annotations

import ssl
from pathlib import Path

from node.errors import Unsent


def trusting(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return whose certificates are trusted, and which is ours; raise Unsent if that cannot be."""
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(path) for path in (ca, certificate, key) if path is not None)
        raise Unsent(
            f"{files}: cannot be used for TLS ({error.strerror or type(error).__name__}); "
            "these are PEM files that the node may read"
        ) from error
    return context
