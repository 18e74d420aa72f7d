"""URLs of Postgres as people write them: what libpq takes, or a sentence that gives no password away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn

from downloader import config, dsn
from downloader.parse import Invalid
from downloader.store import Store, migrate
from tests.conftest import execute
from tests.store.conftest import new


def taken(value):
    return parse_dsn(dsn.database_url(value))


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ("postgres://u:p@h:5433/d", {"user": "u", "password": "p", "host": "h", "port": "5433", "dbname": "d"}),
        ("jdbc:postgresql://h:5433/d", {"host": "h", "port": "5433", "dbname": "d"}),
        ("jdbc:postgresql://h/d?user=u&password=a+b%26", {"host": "h", "dbname": "d", "user": "u", "password": "a+b&"}),
        ("postgres://u:p%40%2F%25@h/d", {"user": "u", "password": "p@/%", "host": "h", "dbname": "d"}),
        ("postgres:///d?host=/run/postgresql", {"dbname": "d", "host": "/run/postgresql"}),
        ("postgres://[::1]:5433/d", {"host": "::1", "port": "5433", "dbname": "d"}),
        ("postgres://a:1,b:2/d", {"host": "a,b", "port": "1,2", "dbname": "d"}),
        ("postgres://h/d?ssl=true", {"host": "h", "dbname": "d", "sslmode": "require"}),
        ("postgres://h/d?ssl=false", {"host": "h", "dbname": "d"}),
        ("postgres://h/d?ssl=true&sslmode=verify-full", {"host": "h", "dbname": "d", "sslmode": "verify-full"}),
        ("jdbc:postgresql://h/d?currentSchema=a,b", {"host": "h", "dbname": "d", "options": "-csearch_path=a,b"}),
        ("postgres://h/d?options=-cjit=off&currentSchema=a", {"host": "h", "dbname": "d", "options": "-cjit=off -csearch_path=a"}),
    ],
)  # fmt: skip
def test_urls_of_every_dialect_mean_what_they_say(value, means):
    assert taken(value) == means


@pytest.mark.parametrize("name", ["DATABASE_URL", "DB_URL"])
def test_a_parameter_that_libpq_does_not_know_is_named_with_its_variable(name):
    with pytest.raises(config.ConfigError) as caught:
        config.load({name: "jdbc:postgresql://u:s3cret@h/d?reWriteBatchedInserts=true"})
    assert name in str(caught.value)
    assert "reWriteBatchedInserts" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "password", ["s3@cret", "1/s3cret", "s3?cret=1", "12?s3cret=1", "s3#cret", "s3%cret", "%zzs3cret", "s3 cret", "[s3"]
)
def test_a_password_that_is_not_encoded_is_not_repeated(password):
    with pytest.raises(Invalid) as caught:
        dsn.database_url(f"postgres://u:{password}@h/d")
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_parameter_without_a_meaning_is_named():
    with pytest.raises(Invalid, match="parameter ssl "):
        dsn.database_url("postgres://h/d?ssl=perhaps")


def test_every_parameter_is_one_of_libpqs():
    for name in dsn.PARAMETERS:
        assert parse_dsn(f"postgresql://h/d?{name}=1")[name] == "1"


@given(
    st.lists(st.sampled_from([*":/?#[]@,&=%+ ", "%41", "%00", "u", "1", "host", "ssl", "true", "é", "\t"]), max_size=12)
)
def test_what_is_taken_is_what_libpq_takes(parts):
    try:
        found = dsn.database_url(f"postgres://{''.join(parts)}")
    except Invalid:
        return
    parse_dsn(found)
    parse_dsn(dsn.with_credentials(found, "u@", "p:/"))


def test_a_schema_of_ones_own_is_used_by_migrations_and_service_alike(empty_database_url):
    execute(empty_database_url, "CREATE SCHEMA {}", "own one")
    url = dsn.database_url(f"{empty_database_url}&currentSchema=%22own%20one%22")
    migrate(url)
    store = Store(url, max_connections=1)
    assert store.post(new(), limit=10).created
    assert store.db.rows("SELECT schemaname FROM pg_tables WHERE tablename = 'downloader_jobs'") == [
        {"schemaname": "own one"}
    ]
    assert store.db.rows("SHOW statement_timeout") == [{"statement_timeout": "30s"}]
    store.close()
