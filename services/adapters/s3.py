"""An object store on any S3: AWS, SeaweedFS, MinIO, Ceph. Signature version 4 and path style, which all of them speak."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.adapters.objects import (
    CHUNK_BYTES,
    ObjectExists,
    ObjectNotFound,
    OutOfSpace,
    PresignedPut,
    StorageUnavailable,
    StoredObject,
    check_key,
)
from services.adapters.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})
BEYOND_END = frozenset({"416", "InvalidRange"})
FULL = frozenset({"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
SPOOL_BYTES = 8 * 2**20


class S3Store:
    """Objects in one bucket, below an optional prefix; the SHA-256 travels as metadata. See `ObjectStore` for the methods."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._client = connect(settings, settings.s3_endpoint)
        public = settings.s3_public_endpoint
        self._signer = connect(settings, public) if public else self._client
        part = settings.s3_multipart_bytes
        self._transfer = TransferConfig(multipart_threshold=part, multipart_chunksize=part)

    def put(
        self, key: str, data: bytes | BinaryIO, media_type: str = "application/octet-stream", if_absent: bool = False
    ) -> StoredObject:
        full = self._prefix + check_key(key)
        with storage_errors(key), tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
            stored = _spool(key, data, spool)
            headers = {"ContentType": media_type, "Metadata": {"sha256": stored.sha256}}
            if if_absent:
                if self.stat(key) is not None:  # gateways that ignore If-None-Match still refuse the common case
                    raise ObjectExists(f"something is stored under {key!r} already")
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=full,
                    Body=spool,
                    IfNoneMatch="*",
                    ContentType=media_type,
                    Metadata={"sha256": stored.sha256},
                )
            else:
                self._client.upload_fileobj(spool, self._bucket, full, ExtraArgs=headers, Config=self._transfer)
        return stored

    def stat(self, key: str) -> StoredObject | None:
        try:
            with storage_errors(key):
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + check_key(key))
        except ObjectNotFound:
            return None
        sha256 = head["Metadata"].get("sha256")
        return StoredObject(key, head["ContentLength"], sha256 or self._digest(key))

    def read(self, key: str) -> bytes:
        return b"".join(self.open_range(key))

    def open_range(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        full = self._prefix + check_key(key)
        with storage_errors(key):
            if end is not None and end <= start:
                return iter(())
            if start == 0 and end is None:
                body = self._client.get_object(Bucket=self._bucket, Key=full)["Body"]
            else:
                span = f"bytes={start}-{'' if end is None else end - 1}"
                try:
                    body = self._client.get_object(Bucket=self._bucket, Key=full, Range=span)["Body"]
                except ClientError as error:
                    if error.response.get("Error", {}).get("Code") in BEYOND_END:  # as a file that is read beyond its end
                        return iter(())
                    raise
        return _stream(key, body.iter_chunks(CHUNK_BYTES))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        full = self._prefix + check_key(prefix, prefix=True)
        with storage_errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=full)
            # Sorted here: gateways over a file system (SeaweedFS) have an order of their own.
            for key in sorted(entry["Key"] for page in pages for entry in page.get("Contents", ())):
                stored = self.stat(key.removeprefix(self._prefix))
                if stored is not None:
                    yield stored

    def list_folders(self, prefix: str) -> Iterator[str]:
        full = self._prefix + check_key(prefix, prefix=True)
        with storage_errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=full, Delimiter="/")
            for page in pages:
                for entry in page.get("CommonPrefixes", ()):
                    yield entry["Prefix"].removeprefix(full).removesuffix("/")

    def delete(self, key: str) -> None:
        with storage_errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + check_key(key))

    def delete_prefix(self, prefix: str) -> int:
        full = self._prefix + check_key(prefix, prefix=True)
        count = 0
        with storage_errors(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=full):
                for entry in page.get("Contents", ()):
                    self._client.delete_object(Bucket=self._bucket, Key=entry["Key"])
                    count += 1
        return count

    def presign(self, key: str, expires_s: float, download_name: str | None = None) -> str | None:
        parameters = {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}
        if download_name is not None:
            parameters["ResponseContentDisposition"] = f'attachment; filename="{download_name}"'
        return self._signer.generate_presigned_url("get_object", Params=parameters, ExpiresIn=int(expires_s))

    def presign_put(self, key: str, expires_s: float, size: int, sha256: str) -> PresignedPut | None:
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        url = self._signer.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": self._prefix + check_key(key),
                "ContentLength": size,
                "ChecksumSHA256": checksum,
                "Metadata": {"sha256": sha256},
            },
            ExpiresIn=int(expires_s),
        )
        return PresignedPut(url, {"x-amz-checksum-sha256": checksum, "x-amz-meta-sha256": sha256})

    def remove_unfinished(self, begun_before: datetime) -> int:
        removed = 0
        with storage_errors(self._bucket):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for upload in [each for page in pages for each in page.get("Uploads", ())]:
                if upload["Initiated"] < begun_before:
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    removed += 1
        return removed

    def check(self) -> None:
        with storage_errors(self._bucket):
            self._client.head_bucket(Bucket=self._bucket)

    def free_bytes(self) -> int | None:
        return None

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.open_range(key):
            digest.update(chunk)
        return digest.hexdigest()


def connect(settings: Settings, endpoint: str | None) -> S3Client:
    """Make a client with short time-outs; an absent store is told within seconds."""
    config = Config(
        signature_version="s3v4",  # presigned URLs fail without it on SeaweedFS
        s3={"addressing_style": "path"},
        connect_timeout=min(5.0, settings.s3_timeout_s),
        read_timeout=settings.s3_timeout_s,
        retries={"total_max_attempts": 2, "mode": "standard"},
        # Newer checksums in trailers are not understood by every gateway; ours is the SHA-256 in the metadata.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.s3_region or "us-east-1",
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        config=config,
    )


@contextlib.contextmanager
def storage_errors(key: str) -> Iterator[None]:
    """Turn botocore's errors into the store's own."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ABSENT:
            raise ObjectNotFound(f"nothing is stored under {key!r}") from error
        if code in TAKEN:
            raise ObjectExists(f"something is stored under {key!r} already") from error
        if code in FULL:
            raise OutOfSpace(f"{key}: the store is full ({code})") from error
        raise StorageUnavailable(f"{key}: the store answered {code or error}") from error
    except (BotoCoreError, boto3.exceptions.Boto3Error, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise OutOfSpace(f"{key}: this machine has no room for temporary files") from error
        raise StorageUnavailable(f"{key}: {error}") from error


def _spool(key: str, data: bytes | BinaryIO, spool: tempfile.SpooledTemporaryFile[bytes]) -> StoredObject:
    digest, size = hashlib.sha256(), 0
    for chunk in [data] if isinstance(data, bytes) else iter(lambda: data.read(CHUNK_BYTES), b""):
        digest.update(chunk)
        size += len(chunk)
        spool.write(chunk)
    spool.seek(0)
    return StoredObject(key, size, digest.hexdigest())


def _stream(key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    with storage_errors(key):
        yield from chunks
