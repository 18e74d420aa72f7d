"""The settings: what each variable takes, and what only shows when several are seen side by side."""

import pytest

from downloader import config

ALL = "0.0.0.0"


@pytest.mark.parametrize(
    ("given", "bind", "url"),
    [
        ({}, f"{ALL}:18093", "http://127.0.0.1:18093"),
        ({"HTTP_PORT": "28099"}, f"{ALL}:28099", "http://127.0.0.1:28099"),
        ({"HTTP_ADDR": ":28099"}, f"{ALL}:28099", "http://127.0.0.1:28099"),
        ({"HTTP_ADDR": ":28099", "HTTP_PORT": "1"}, f"{ALL}:28099", "http://127.0.0.1:28099"),
        ({"HTTP_ADDR": "127.0.0.2:28099"}, "127.0.0.2:28099", "http://127.0.0.2:28099"),
        ({"HTTP_ADDR": "127.0.0.2", "HTTP_PORT": "28099"}, "127.0.0.2:28099", "http://127.0.0.2:28099"),
        ({"HTTP_ADDR": "localhost:80"}, "localhost:80", "http://localhost:80"),
        ({"HTTP_ADDR": "[::1]:28099"}, "[::1]:28099", "http://[::1]:28099"),
        ({"HTTP_ADDR": "[::1]"}, "[::1]:18093", "http://[::1]:18093"),
        ({"HTTP_ADDR": "::1"}, "[::1]:18093", "http://[::1]:18093"),
        ({"HTTP_ADDR": "[::]:28099"}, "[::]:28099", "http://[::1]:28099"),
    ],
    ids=str,
)
def test_an_address_to_listen_on_is_a_host_a_port_or_both(given, bind, url):
    settings = config.load(given)
    assert (settings.http_bind, settings.http_url) == (bind, url)
    assert config.local_url(given | {"DOWNLOAD_WORKERS": "many"}) == url


@pytest.mark.parametrize(
    "value", [":0", ":70000", ":http", "[::1", "a b", "http://0.0.0.0:1", "::1:99999", "h:", "u@h:1"]
)
def test_what_is_no_address_is_said(value):
    with pytest.raises(config.ConfigError, match="HTTP_ADDR takes an address"):
        config.load({"HTTP_ADDR": value})


JDBC = "jdbc:postgresql://db:5432/typetype"


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ({"DB_URL": JDBC}, "postgresql://typetype:typetype@db:5432/typetype"),
        ({"DB_URL": JDBC, "DB_USER": "me"}, "postgresql://me:typetype@db:5432/typetype"),
        ({"DB_URL": JDBC, "DB_PASSWORD": "a/b"}, "postgresql://typetype:a%2Fb@db:5432/typetype"),
        ({"DB_URL": "postgres://db/typetype"}, "postgresql://db/typetype"),
        ({"DB_URL": "postgres://db/typetype", "DB_USER": "me"}, "postgresql://me@db/typetype"),
        ({"DB_URL": "postgres://you:p@db/typetype", "DB_USER": "me"}, "postgresql://you:p@db/typetype"),
    ],
    ids=str,
)
def test_a_jdbc_url_has_the_user_and_password_it_had_before(given, location):
    assert config.load(given).database_location == location
