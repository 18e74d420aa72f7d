"""Settings: every variable, typed, read and validated once by the main of each process.

Nothing else looks at the environment. Each field's metadata names its variables in order of precedence; for each
``NAME`` there is also ``NAME_FILE``, a path whose content is the value. Empty means unset. docs/operating.md lists
them all; a test holds the two together.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from downloader import dsn, parse
from downloader.parse import Invalid

DATABASE_NAMES = "DATABASE_URL or DB_URL"
REDIS_NAMES = "REDIS_URL, REDIS_ADDR or REDIS_HOST"
MAKE_KEY = "openssl rand -base64 32 | tr +/ -_"
GO_LOGIN = "typetype"  # what the Go service took for a JDBC URL without DB_USER or DB_PASSWORD
ANYWHERE = "0.0.0.0"  # noqa: S104 - in a container all addresses are meant
_LIKENESS = 0.885  # takes in a letter or underline too few; leaves out HTTP_PROXY, DB_HOST and DATABASE_USER
_LOOPBACK = {ANYWHERE: "127.0.0.1", "::": "::1"}


class ConfigError(Exception):
    """One or more variables do not parse; the message names each and what it takes."""


class Unreadable(Exception):
    """The file that a variable names cannot be read; the message is a sentence."""


def _var(names: str, parser: parse.Parser, default: Any, takes: str, *, secret: bool = False) -> Any:
    metadata = {"names": tuple(names.split()), "parse": parser, "takes": takes}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. Bytes, seconds and counts unless a name says otherwise."""

    http_addr: tuple[str, int | None] = _var(
        "HTTP_ADDR", parse.listen_address, ("", None), "an address to listen on: host, :port or host:port"
    )
    http_port: int = _var("HTTP_PORT", parse.integer(1, 65535), 18093, "a port, 1 to 65535")
    public_base_url: str = _var("PUBLIC_BASE_URL", parse.base_url, "", "a URL or a path such as /api/downloader")
    web_workers: int = _var("WEB_WORKERS", parse.integer(1, 64), 1, "a count of web processes, 1 to 64")

    typetype_api_base: str = _var(
        "TYPETYPE_API_BASE",
        parse.http_url,
        "http://typetype-server:8080",
        "the http(s) URL of TypeType-Server",
    )

    database_url: str = _var(
        "DATABASE_URL DB_URL",
        dsn.database_url,
        "",
        "postgres://… or jdbc:postgresql://host:port/db",
        secret=True,
    )
    db_user: str = _var("DB_USER", parse.text, "", "a user name, for a DB_URL that has none")
    db_password: str = _var("DB_PASSWORD", parse.text, "", "a password, for a DB_URL that has none", secret=True)

    redis_url: str = _var("REDIS_URL", parse.redis_url, "", "redis://… , rediss://… or unix://…", secret=True)
    redis_addr: str = _var("REDIS_ADDR", parse.host_port, "", "host:port")
    redis_host: str = _var("REDIS_HOST", parse.text, "", "a host name")
    redis_port: int = _var("REDIS_PORT", parse.integer(1, 65535), 6379, "a port, 1 to 65535")
    redis_queue_key: str = _var("REDIS_QUEUE_KEY", parse.text, "downloader:queue", "a prefix for our keys")

    data_dir: Path = _var("DATA_DIR", parse.path, Path("data"), "a folder")
    storage_backend: Literal["", "local", "s3"] = _var(
        "STORAGE_BACKEND", parse.choice("local", "s3"), "", "local or s3"
    )
    s3_endpoint: str = _var("S3_ENDPOINT", parse.endpoint, "", "a URL or host:port")
    s3_public_endpoint: str = _var("S3_PUBLIC_ENDPOINT", parse.endpoint, "", "a URL or host:port")
    s3_region: str = _var("S3_REGION", parse.text, "garage", "a region name")
    s3_bucket: str = _var("S3_BUCKET", parse.text, "", "a bucket name")
    s3_access_key: str = _var("S3_ACCESS_KEY", parse.text, "", "an access key", secret=True)
    s3_secret_key: str = _var("S3_SECRET_KEY", parse.text, "", "a secret key", secret=True)
    s3_use_ssl: bool = _var("S3_USE_SSL", parse.boolean, True, "true or false")
    s3_public_use_ssl: bool = _var("S3_PUBLIC_USE_SSL", parse.boolean, True, "true or false")
    s3_path_style: bool = _var("S3_PATH_STYLE", parse.boolean, True, "true or false")
    artifact_url_ttl_seconds: int = _var(
        "ARTIFACT_URL_TTL_SECONDS S3_ARTIFACT_TTL_SECONDS",
        parse.integer(1, 604800),
        7200,
        "seconds, 1 to 604800",
    )
    artifact_ttl_seconds: int | None = _var(
        "ARTIFACT_TTL_SECONDS", parse.integer(0), None, "seconds; 0 keeps artifacts for good"
    )
    accel_redirect_prefix: str = _var("ACCEL_REDIRECT_PREFIX", parse.text, "", "an internal nginx location")

    max_concurrent_workers: int = _var("MAX_CONCURRENT_WORKERS", parse.integer(1, 1024), 2, "a count, 1 to 1024")
    download_workers: int = _var("DOWNLOAD_WORKERS", parse.integer(1, 64), 8, "connections a stream, 1 to 64")
    download_chunk_size: int = _var(
        "DOWNLOAD_CHUNK_SIZE", parse.integer(65536, 1 << 30), 10 << 20, "bytes, 65536 to 1 GiB"
    )
    download_range_mode: Literal["query", "header"] = _var(
        "DOWNLOAD_RANGE_MODE", parse.choice("query", "header"), "query", "query or header"
    )
    download_http2: bool = _var("DOWNLOAD_HTTP2", parse.boolean, False, "true or false")
    muxer: Literal["avformat"] = _var("MUXER", parse.choice("avformat"), "avformat", "avformat")
    max_queue_size: int = _var("MAX_QUEUE_SIZE", parse.integer(1), 100, "a count of jobs")
    job_ttl_seconds: int = _var("JOB_TTL_SECONDS", parse.integer(1), 600, "seconds")
    job_time_limit_seconds: int = _var("JOB_TIME_LIMIT_SECONDS", parse.integer(1), 6 * 3600, "seconds")
    storage_min_free_bytes: int = _var("STORAGE_MIN_FREE_BYTES", parse.integer(0), 10 << 30, "bytes")
    storage_min_free_percent: int = _var("STORAGE_MIN_FREE_PERCENT", parse.integer(0, 99), 20, "percent, 0 to 99")

    media_allow_networks: tuple[IPv4Network | IPv6Network, ...] = _var(
        "MEDIA_ALLOW_NETWORKS", parse.networks, (), "networks such as 10.0.0.0/8, separated by commas"
    )
    media_proxy_url: str = _var(
        "MEDIA_PROXY_URL", parse.proxy_url, "", "an http://, https:// or socks5h:// proxy", secret=True
    )
    media_max_bytes: int = _var("MEDIA_MAX_BYTES", parse.integer(1), 64 << 30, "bytes")

    secret_key: str = _var("SECRET_KEY", parse.fernet_key, "", f"32 bytes in urlsafe base64 ({MAKE_KEY})", secret=True)
    callback_allow_hosts: tuple[str, ...] = _var(
        "CALLBACK_ALLOW_HOSTS", parse.host_names, (), "host names, separated by commas"
    )
    callback_secret: str = _var("CALLBACK_SECRET", parse.text, "", "a secret that signs callbacks", secret=True)

    lease_seconds: float = _var("LEASE_SECONDS", parse.number(1, 600), 15.0, "seconds, 1 to 600")
    drain_seconds: float = _var("DRAIN_SECONDS", parse.number(0, 3600), 8.0, "seconds, 0 to 3600")
    log_format: Literal["", "json", "console"] = _var(
        "LOG_FORMAT",
        parse.choice("json", "console"),
        "",
        "json or console (console on a terminal by default)",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _var(
        "LOG_LEVEL",
        parse.choice("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning or error",
    )

    @property
    def http_listen(self) -> tuple[str, int]:
        """Host and port to listen on; the port of HTTP_ADDR goes before HTTP_PORT."""
        host, port = self.http_addr
        return host or ANYWHERE, port or self.http_port

    @property
    def http_bind(self) -> str:
        """``host:port`` to listen on, IPv6 in brackets."""
        return _host_port(*self.http_listen)

    @property
    def http_url(self) -> str:
        """Where a client on this machine reaches what listens on ``http_bind``."""
        host, port = self.http_listen
        return f"http://{_host_port(_LOOPBACK.get(host, host), port)}"

    @property
    def jobs_dir(self) -> Path:
        """Work folders: one per job."""
        return self.data_dir / "jobs"

    @property
    def artifacts_dir(self) -> Path:
        """Local artifacts: one folder per job."""
        return self.data_dir / "artifacts"

    @property
    def storage(self) -> Literal["local", "s3"]:
        """Where artifacts go: as said, else s3 when endpoint, bucket and key are set."""
        if self.storage_backend:
            return self.storage_backend
        return "s3" if self.s3_endpoint and self.s3_bucket and self.s3_access_key else "local"

    @property
    def artifact_ttl(self) -> int:
        """Seconds an artifact lives; 0 for good. Default: as the URL on S3, for good on local disk."""
        if self.artifact_ttl_seconds is not None:
            return self.artifact_ttl_seconds
        return self.artifact_url_ttl_seconds if self.storage == "s3" else 0

    @property
    def redis_location(self) -> str:
        """The Redis URL to use, or empty when no REDIS_* is set (``downloader up`` then starts its own)."""
        if self.redis_url:
            return self.redis_url
        if self.redis_addr:
            return f"redis://{self.redis_addr}/0"
        return f"redis://{self.redis_host}:{self.redis_port}/0" if self.redis_host else ""

    @property
    def database_location(self) -> str:
        """A libpq URL or DSN with user and password, or empty when none is set."""
        return dsn.with_credentials(self.database_url, self.db_user, self.db_password)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from ``environ`` (default: the process's own); raises ConfigError naming every bad variable."""
    environ = os.environ if environ is None else environ
    settings, problems = _read(environ, fields(Settings))
    if _is_jdbc(environ):
        settings = replace(settings, db_user=settings.db_user or GO_LOGIN, db_password=settings.db_password or GO_LOGIN)
    problems.extend(_together(settings))
    if problems:
        raise ConfigError("; ".join(problems))
    return settings


def load_whole(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a process that needs Postgres and Redis; raises ConfigError also where one is not set."""
    settings = load(environ)
    named = ((DATABASE_NAMES, settings.database_location), (REDIS_NAMES, settings.redis_location))
    if missing := [f"{names} must be set" for names, location in named if not location]:
        raise ConfigError(f"{'; '.join(missing)} (`downloader up` starts a private server where one is not)")
    return settings


def mistaken(environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Every name in ``environ`` that is nearly one of ours, with the one that was probably meant."""
    environ = os.environ if environ is None else environ
    known = {name for names, _, _ in variables() for name in names}
    known |= {f"{name}_FILE" for name in known} | {"DOWNLOADER_SERVER"}
    strangers = [name for name in environ if name not in known]
    found = [(name, get_close_matches(name.upper(), known, 1, _LIKENESS)) for name in sorted(strangers)]
    return [(name, near[0]) for name, near in found if near]


def local_url(environ: Mapping[str, str] | None = None) -> str:
    """``http_url`` alone, whatever else may be wrong in ``environ``; raises ConfigError."""
    items = [item for item in fields(Settings) if item.name in ("http_addr", "http_port")]
    settings, problems = _read(os.environ if environ is None else environ, items)
    if problems:
        raise ConfigError("; ".join(problems))
    return settings.http_url


def _read(environ: Mapping[str, str], items: Iterable[Field[Any]]) -> tuple[Settings, list[str]]:
    """The settings with ``items`` from ``environ`` and defaults for the rest, and what does not parse."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for item in items:
        found = None
        try:
            found = _lookup(environ, item.metadata["names"])
            if found is not None:
                values[item.name] = item.metadata["parse"](found[1])
        except Unreadable as error:
            problems.append(str(error))
        except Invalid as error:
            name = found[0] if found else item.metadata["names"][0]
            problems.append(f"{name} takes {item.metadata['takes']}: {error}")
    return Settings(**values), problems


def variables() -> list[tuple[tuple[str, ...], str, Any]]:
    """Every variable for the documentation: (names, what it takes, default)."""
    return [(item.metadata["names"], item.metadata["takes"], item.default) for item in fields(Settings)]


def _lookup(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    for name in names:
        if environ.get(name):
            return name, environ[name]
        if file := environ.get(f"{name}_FILE"):
            try:
                text = Path(file).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise Unreadable(f"{name}_FILE cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise Unreadable(f"{name}_FILE cannot be read: it is not UTF-8") from None
            if text:
                return name, text
    return None


def _is_jdbc(environ: Mapping[str, str]) -> bool:
    try:
        found = _lookup(environ, ("DATABASE_URL", "DB_URL"))
    except Unreadable:
        return False
    return found is not None and found[1].strip().startswith("jdbc:")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _together(settings: Settings) -> list[str]:
    """What only shows when several variables are seen side by side."""
    problems: list[str] = []
    needed = {
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_BUCKET": settings.s3_bucket,
        "S3_ACCESS_KEY": settings.s3_access_key,
        "S3_SECRET_KEY": settings.s3_secret_key,
    }
    missing = [name for name, value in needed.items() if not value]
    given = [name for name in needed if name not in missing]
    if settings.storage == "s3" and missing:
        chosen = "STORAGE_BACKEND is s3" if settings.storage_backend else f"{_listed(given)} are"
        problems.append(f"{_listed(missing)} must be set, as {chosen}")
    if settings.callback_allow_hosts and not settings.callback_secret:
        problems.append("CALLBACK_SECRET must be set when CALLBACK_ALLOW_HOSTS is")
    return problems
