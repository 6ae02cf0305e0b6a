"""Fetching a file from a server or object storage: again where that can help, and no more of it than asked."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fanlight.errors import InputError

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt to fetch a file."""

_SECONDS = 60.0  # without a byte, after which an attempt has failed
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
Result = TypeVar("Result")


class BrokenError(Exception):
    """What arrived is not what was packed."""


def with_patience(source: str, folder: Path, fetch: Callable[[], Result]) -> Result:
    """Fetch, again and again for a while where that can help.

    Args:
        source: the file's URL.
        folder: of the cache.
        fetch: makes one attempt.

    Raises:
        InputError: it cannot be fetched.
    """
    for delay in (*DELAYS, None):
        try:
            return fetch()
        except ImportError as error:
            raise InputError(
                f"{source}: reading from there needs another package ({error}): pip install 'fanlight[stream]' "
                "for https, s3fs for s3, gcsfs for gs"
            ) from None
        except FileNotFoundError:
            raise InputError(f"{source}: there is no such file: check the address of the pack") from None
        except Exception as error:  # whatever the protocol's library raises: it is told when it stays
            if isinstance(error, OSError) and error.errno in _FULL:
                raise no_cache(folder, error) from None
            if delay is None:
                raise InputError(
                    f"{source}: cannot be fetched, after {len(DELAYS) + 1} attempts "
                    f"({str(error) or type(error).__name__}): check the address and that the server answers, "
                    "then go on, a training by --resume"
                ) from None
            time.sleep(delay)
    raise AssertionError("unreachable")


def no_cache(folder: Path, error: OSError) -> InputError:
    """What to say when a cache's folder cannot be written."""
    return InputError(
        f"{folder}: cannot keep what is fetched ({error.strerror}): make room there, lower data.cache_gib, or set "
        "data.cache to a folder on another disk"
    )


def _options(url: str) -> dict[str, Any]:
    """Of the file system: an HTTP server that falls silent is given up in the end."""
    if not url.startswith(("http://", "https://")):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_connect=_SECONDS, sock_read=_SECONDS)}}


def read_remote(url: str, folder: Path, most: int) -> bytes:
    """The content of a file of up to so many bytes, by way of a folder.

    Raises:
        BrokenError: there are more.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".description.") as side:
        path = Path(side, "content")
        download(url, path, most)
        return path.read_bytes()


def download(url: str, target: Path, most: int) -> None:
    """Fetch a file, up to so many bytes: a server may go on for ever.

    Raises:
        BrokenError: there are more.
    """
    from fsspec import Callback
    from fsspec.core import url_to_fs

    class Limit(Callback):  # type: ignore[misc]
        def call(self, *_: object, **__: object) -> None:
            if self.value > most:
                raise BrokenError(f"what arrives has more than {most} bytes")

    system, path = url_to_fs(url, use_listings_cache=False, **_options(url))
    system.get_file(path, str(target), callback=Limit())
