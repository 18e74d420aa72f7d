"""Rows of downloader_jobs in any state, without the stages that would bring them there."""

import json
import secrets
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql


class Rows:
    """Writes jobs' rows, and artifacts below ``data``."""

    def __init__(self, database_url: str, data: Path) -> None:
        self.data = data
        self._connection = psycopg2.connect(database_url)
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def job(self, **fields: Any) -> str:
        """A new row, queued unless ``fields`` say otherwise; its id."""
        values = {
            "id": secrets.token_hex(16),
            "cache_key": secrets.token_hex(32),
            "url": "https://example.com/v",
            "status": "queued",
            "options": "{}",
            "queued_at": "2026-01-02T03:04:05.678Z",
        } | fields
        if values["status"] in ("done", "failed"):
            values.setdefault("started_at", "2026-01-02T03:04:06Z")
            values.setdefault("finished_at", "2026-01-02T03:04:16Z")
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        holes = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        with self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("INSERT INTO downloader_jobs ({}) VALUES ({})").format(names, holes), [*values.values()]
            )
        return values["id"]

    def done(self, content: bytes = b"media", name: str = "clip.mp4", **fields: Any) -> str:
        """A done job with a local artifact that stands."""
        job_id = fields.setdefault("id", secrets.token_hex(16))
        self.file(job_id, name, content)
        values = {
            "status": "done",
            "stage": "done",
            "storage": "local",
            "artifact": f"artifacts/{job_id}/{name}",
            "artifact_name": name,
            "artifact_size": len(content),
            "artifact_type": "video/mp4",
        }
        return self.job(**values | fields)

    def sidecar(self, job_id: str, name: str, content: bytes) -> None:
        """Put a file beside a done job's artifact."""
        self.file(job_id, name, content)
        found = [
            {"name": name, "locator": f"artifacts/{job_id}/{name}", "contentType": "text/vtt", "size": len(content)}
        ]
        self.run("UPDATE downloader_jobs SET sidecars = %s WHERE id = %s", json.dumps(found), job_id)

    def file(self, job_id: str, name: str, content: bytes) -> Path:
        path = self.data / "artifacts" / job_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def set(self, job_id: str, **fields: Any) -> None:
        """Change a row as a stage would."""
        changes = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder()) for n in fields)
        with self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("UPDATE downloader_jobs SET {}, updated_at = clock_timestamp() WHERE id = %s").format(changes),
                [*fields.values(), job_id],
            )
