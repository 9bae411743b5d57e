"""Where data is: folders, https, S3, and what fsspec knows besides.

Folders and https need nothing but Python; S3 needs boto3, which is in a lab's requirements.txt.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from taglab.datasets.lock import DataError

TIMEOUT = 30  # seconds without an answer


class Unreachable(OSError):
    """A place does not answer, or refuses; the text says why."""


class NoPackage(DataError):
    """A place needs a package that the lab lacks."""


@dataclass(frozen=True)
class Info:
    """What a place says of a file without sending it; None is unknown."""

    size: int | None  # bytes
    changed: float | None = None  # seconds since 1970


@dataclass(frozen=True)
class Reply:
    """The content of a file from byte `start` on; `size` is that of the whole file, if known.

    version: changes with the content; "" where the place has no such word.
    """

    stream: IO[bytes]
    start: int = 0
    size: int | None = None
    version: str = ""


class Place(Protocol):
    """Files below an address; the key "" is the address itself. The methods raise OSError."""

    def info(self, key: str) -> Info | None:
        """Return what is known of a file, or None where there is none."""

    def read(self, key: str, start: int = 0,
             version: str = "") -> contextlib.AbstractContextManager[Reply]:
        """Open a file, from `start` on where that can be; from 0 where the version is another."""

    def write(self, key: str, source: Path) -> None:
        """Write a file, all of it or nothing."""


def is_url(address: str) -> bool:
    """Return whether an address is no path."""
    return "://" in address and not address.startswith("file://")


def local_path(address: str, lab: Path) -> Path:
    """Return the path of an address that is none of a URL; a relative one is below the lab."""
    path = unquote(urlsplit(address).path) if address.startswith("file://") else address
    return Path(os.path.abspath(lab / path))


def place_at(address: str, lab: Path) -> Place:
    """Return the place at an address. Raises NoPackage where its package is missing."""
    if not is_url(address):
        return Folder(local_path(address, lab))
    scheme = address.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return Web(address)
    return S3(address) if scheme == "s3" else Other(address)


@dataclass(frozen=True)
class Folder:
    """Files in a folder, or one file."""

    path: Path

    def info(self, key: str) -> Info | None:
        try:
            found = (self.path / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Info(found.st_size, found.st_mtime)

    @contextlib.contextmanager
    def read(self, key: str, start: int = 0, version: str = "") -> Iterator[Reply]:
        with (self.path / key).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield Reply(file, file.seek(min(start, size)), size)

    def write(self, key: str, source: Path) -> None:
        target = self.path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copyfile(source, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Web:
    """Files at an http or https address, which can only be read."""

    address: str

    def info(self, key: str) -> Info | None:
        try:
            with self._explained(), self._answer(key, "HEAD") as reply:
                changed = _seconds(reply.headers.get("Last-Modified"))
                return Info(_number(reply.headers.get("Content-Length")), changed)
        except OSError as error:
            if status_of(error) in (404, 410):
                return None
            raise

    @contextlib.contextmanager
    def read(self, key: str, start: int = 0, version: str = "") -> Iterator[Reply]:
        wanted = {"Range": f"bytes={start}-"} if start else {}
        if start and version:
            wanted["If-Range"] = version
        with self._explained(), self._answer(key, "GET", **wanted) as reply:
            begin = start if reply.status == 206 else 0
            size = _number(reply.headers.get("Content-Length"))
            tag = reply.headers.get("ETag") or ""
            yield Reply(reply, begin, None if size is None else begin + size,
                        "" if tag.startswith("W/") else tag)

    def write(self, key: str, source: Path) -> None:
        raise Unreachable(f"{self.address} can only be read; name a folder or s3://BUCKET/PREFIX")

    def _answer(self, key: str, method: str, **headers: str) -> Any:
        from urllib.request import Request, urlopen  # slow to import, and often not needed

        address = f"{self.address.rstrip('/')}/{quote(key)}" if key else self.address
        headers["User-Agent"] = "taglab"  # some servers refuse Python's
        return urlopen(Request(address, headers=headers, method=method),
                       timeout=5 if method == "HEAD" else TIMEOUT)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        from http.client import HTTPException

        try:
            yield
        except (HTTPException, ValueError) as error:  # no OSError, unlike all others
            raise Unreachable(str(error)) from error


class S3:
    """Objects in a bucket. The endpoint may be in AWS_ENDPOINT_URL or MLFLOW_S3_ENDPOINT_URL."""

    def __init__(self, address: str) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise NoPackage(f"{address} needs boto3. Type: lab add boto3") from error
        self._bucket, _, self._prefix = address.partition("://")[2].partition("/")
        own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        with self._explained():
            self._client = boto3.Session().client(
                "s3", endpoint_url=own or os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None,
                config=Config(connect_timeout=5, read_timeout=TIMEOUT, max_pool_connections=16,
                              retries={"max_attempts": 2}))

    def info(self, key: str) -> Info | None:
        try:
            with self._explained():
                found = self._client.head_object(**self._named(key))
        except Unreachable as error:
            if status_of(error) == 404:
                return None
            raise
        return Info(found["ContentLength"], found["LastModified"].timestamp())

    @contextlib.contextmanager
    def read(self, key: str, start: int = 0, version: str = "") -> Iterator[Reply]:
        wanted = {"Range": f"bytes={start}-"} if start else {}
        if start and version:
            wanted["IfMatch"] = version
        with self._explained():
            found = self._client.get_object(**self._named(key), **wanted)
            with contextlib.closing(found["Body"]) as body:
                yield Reply(body, start, start + found["ContentLength"], found["ETag"])

    def write(self, key: str, source: Path) -> None:
        named = self._named(key)
        with self._explained():
            self._client.upload_file(str(source), named["Bucket"], named["Key"])

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": "/".join(filter(None, (
            self._prefix.rstrip("/") if key else self._prefix, key)))}

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if type(error).__module__.startswith(("boto", "s3transfer", "urllib3")):
                raise Unreachable(str(error)) from error
            raise


class Other:
    """Files at any other address that fsspec knows."""

    def __init__(self, address: str) -> None:
        try:
            import fsspec
            self._files, self._root = fsspec.url_to_fs(address)
        except ImportError as error:
            reason = str(error).partition("\n")[0]
            raise NoPackage(f"{address} needs fsspec and a package for such addresses ({reason}). "
                            "Type: lab add fsspec NAME") from error
        except Exception as error:  # whatever the packages raise
            raise NoPackage(f"{address} cannot be used: {error}") from error

    def info(self, key: str) -> Info | None:
        with self._explained():
            try:
                return Info(self._files.info(self._path(key))["size"])
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def read(self, key: str, start: int = 0, version: str = "") -> Iterator[Reply]:
        with self._explained(), self._files.open(self._path(key), "rb") as file:
            file.seek(start)
            yield Reply(file, start, file.size if hasattr(file, "size") else None)

    def write(self, key: str, source: Path) -> None:
        with self._explained():
            self._files.makedirs(self._path(key).rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(source), self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if key else self._root

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, DataError):
            raise
        except Exception as error:  # whatever the packages raise
            raise Unreachable(f"{type(error).__name__}: {error}") from error


def status_of(error: BaseException) -> int:
    """Return the HTTP status that an error of a place stands for, or 0."""
    answer = getattr(error.__cause__, "response", None) or {}  # boto3's
    return int(getattr(error, "code", 0) or answer.get(
        "ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _seconds(date: str | None) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
