"""Migrations: many processes at once, and the table of an existing deployment."""

import re
import secrets
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from structlog.testing import capture_logs

from downloader.errors import NotMigrated, StoreRefused, StoreUnavailable
from downloader.states import Stage, Status
from downloader.store import Store, migrate
from tests.conftest import execute
from tests.stages.driving import claim
from tests.store.conftest import new
from tests.store.refusing import refusing

# The table as the service in production makes it.
OLD_TABLE = """
CREATE TABLE downloader_jobs (
    id text PRIMARY KEY, cache_key text NOT NULL, url text NOT NULL, status text NOT NULL,
    title text NOT NULL DEFAULT '', options jsonb NOT NULL, progress jsonb NOT NULL, resolved jsonb,
    artifact text NOT NULL DEFAULT '', storage text NOT NULL DEFAULT '', artifact_expires_at timestamptz,
    error text, error_code text, queued_at timestamptz NOT NULL, started_at timestamptz, finished_at timestamptz,
    download_ms bigint, mux_ms bigint, total_ms bigint, updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO downloader_jobs (id, cache_key, url, status, title, options, progress, resolved, artifact, storage,
                             artifact_expires_at, error, error_code, queued_at, finished_at) VALUES
 ('done1', 'k1', 'https://e.test/1', 'done', 'One', '{"mode":"video","height":720,"sponsorBlock":"odd"}',
  '{"Stage":"done","DownloadedBytes":77,"TotalBytes":77,"SpeedBytesPerSecond":1}',
  '{"videoItag":"136","audioItag":"","fileName":"One.mp4"}', 'artifacts/done1/One.mp4', 's3', now() + interval '1 hour',
  NULL, NULL, now() - interval '1 hour', now()),
 ('done2', 'k2', 'https://e.test/2', 'done', 'Two', '{}', '{}', NULL, '/data/artifacts/done2/Two.webm', 'local', NULL,
  NULL, NULL, now() - interval '1 hour', NULL),
 ('failed1', 'k3', 'https://e.test/3', 'failed', '', '{}', '{"Stage":"download","TotalBytes":"x"}', NULL, '', '', NULL,
  'it broke', 'download_failed', now(), now()),
 ('queued1', 'k4', 'https://e.test/4', 'queued', '', '{"mode":"audio"}', '{"Stage":"queued"}', NULL, '', '', NULL,
  NULL, NULL, now() - interval '2 minutes', NULL),
 ('queued2', 'k4', 'https://e.test/4', 'queued', '', '{"mode":"audio"}', '{"Stage":"queued"}', NULL, '', '', NULL,
  NULL, NULL, now(), NULL),
 ('running1', 'k5', 'https://e.test/5', 'running', '', '{}', '{"Stage":"mux","DownloadedBytes":5}', NULL, 'half', 'local',
  NULL, NULL, NULL, now(), NULL),
 ('odd1', 'k6', 'https://e.test/6', 'paused', '', '{}', '{}', NULL, '', '', NULL, NULL, NULL, now(), NULL);
"""


def test_eight_processes_at_once_apply_each_migration_once(empty_database_url):
    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(lambda _: migrate(empty_database_url), range(8)))
    names = [name for names in applied for name in names]
    assert names
    assert len(names) == len(set(names))
    assert migrate(empty_database_url) == []


def test_a_process_that_comes_before_the_tables_is_told_and_goes_on_with_them(empty_database_url):
    early = Store(empty_database_url, max_connections=1)
    beside = Store(empty_database_url)
    for missing in ("", OLD_TABLE + "SELECT 1"):
        if missing:
            beside.db.rows(missing)
        for ask in (
            lambda: early.post(new(), limit=10),
            early.backlog,
            early.mend,
            lambda: early.here("w", "fetch", 1),
        ):
            with pytest.raises(NotMigrated, match="Run `downloader migrate`"):
                ask()
    migrate(empty_database_url)
    assert claim(early, early.post(new("own"), limit=10).id)
    early.here("w", "fetch", 1)
    for each in (early, beside):
        each.close()


def test_while_a_table_is_held_readers_pass_between_a_migrations_tries(database_url, store):
    store.db.rows("DELETE FROM downloader_migrations WHERE name = '0003_expiring'")
    backup = psycopg2.connect(database_url)
    backup.cursor().execute("SELECT FROM downloader_jobs")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        assert store.job("none") is None
        if len(pauses) == 2:
            backup.close()

    with capture_logs() as logged:
        assert migrate(database_url, lock_seconds=0.05, sleep=pause) == ["0003_expiring"]
    assert len(pauses) == 2
    assert [(line["log_level"], line["event"]) for line in logged] == [("warning", "migration_waits")] * 2
    assert "lock timeout" in logged[0]["reason"]


@pytest.mark.parametrize(
    ("code", "message", "refused"),
    [
        ("28P01", 'password authentication failed for user "u"', True),
        ("28000", 'role "u" does not exist', True),
        ("28000", 'no pg_hba.conf entry for host "127.0.0.1", user "u", database "d", no encryption', True),
        ("3D000", 'database "d" does not exist', True),
        ("42501", 'permission denied for database "d"', True),
        ("57P03", "the database system is starting up", False),
        ("53300", "sorry, too many clients already", False),
    ],
)
def test_a_refusal_is_told_from_what_may_pass(code, message, refused):
    with refusing(code, message) as dsn, pytest.raises(StoreUnavailable, match=re.escape(message)) as caught:
        migrate(dsn)
    assert isinstance(caught.value, StoreRefused) == refused
    assert ("refuses" in str(caught.value)) == refused
    assert "s3cret" not in str(caught.value)


def test_a_role_that_may_make_no_tables_is_refused(empty_database_url):
    role = f"reader_{secrets.token_hex(4)}"
    execute(empty_database_url, "CREATE ROLE {} LOGIN", role)
    try:
        with pytest.raises(StoreRefused, match="permission denied for schema public"):
            migrate(f"postgresql://{role}@{empty_database_url.partition('@')[2]}")
    finally:
        execute(empty_database_url, "DROP ROLE {}", role)


def test_an_existing_deployment_is_adopted_in_place(empty_database_url):
    store = Store(empty_database_url)
    store.db.rows(OLD_TABLE + "SELECT 1")
    migrate(empty_database_url)

    done = store.job("done1")
    assert (done.status, done.stage, done.progress_percent) == (Status.DONE, Stage.DONE, 100)
    assert (done.artifact.storage, done.artifact.locator) == ("s3", "artifacts/done1/One.mp4")
    assert (done.artifact.name, done.resolved.video_itag, done.downloaded_bytes) == ("One.mp4", 136, 77)
    assert done.resolved.audio_itag is None
    assert (done.options.height, done.options.sponsor_block) == (720, False)
    assert store.job("done2").artifact.name == "Two.webm"
    assert store.job("failed1").stage is Stage.DOWNLOAD
    assert store.job("odd1").status is Status.FAILED

    for again in ("queued1", "queued2", "running1"):
        job = store.job(again)
        assert (job.status, job.artifact, job.started_at) == (Status.QUEUED, None, None)
        assert claim(store, again, worker=f"{again}/0"), "its first step waits to be claimed"
    store.close()
