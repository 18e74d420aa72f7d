"""The fixtures everybody stands on."""

import psycopg2
import redis


def test_database_is_fresh_and_migrated(database_url):
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM downloader_jobs")
            assert cursor.fetchone() == (0,)
    finally:
        connection.close()


def test_empty_database_has_no_tables(empty_database_url):
    connection = psycopg2.connect(empty_database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            assert cursor.fetchone() == (0,)
    finally:
        connection.close()


def test_redis_takes_keys_below_the_prefix(redis_url, redis_prefix):
    client = redis.Redis.from_url(redis_url)
    try:
        assert client.set(f"{redis_prefix}:a", "1")
        assert client.get(f"{redis_prefix}:a") == b"1"
    finally:
        client.close()
