"""The settings: what each variable takes, and what only shows when several are seen side by side."""

import subprocess

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
        ({"DB_URL": "postgres://you@db/typetype", "DB_PASSWORD": "p"}, "postgresql://you:p@db/typetype"),
    ],
    ids=str,
)
def test_a_jdbc_url_has_the_user_and_password_it_had_before(given, location):
    assert config.load(given).database_location == location


def problem(**given):
    with pytest.raises(config.ConfigError) as raised:
        config.load(given)
    return str(raised.value)


def test_what_s3_lacks_is_said_once():
    said = problem(STORAGE_BACKEND="s3", S3_ENDPOINT="http://garage:3900")
    assert said == "S3_BUCKET, S3_ACCESS_KEY and S3_SECRET_KEY must be set, as STORAGE_BACKEND is s3"


def test_what_a_chosen_s3_lacks_is_said_without_a_backend():
    said = problem(S3_ENDPOINT="http://garage:3900", S3_BUCKET="b", S3_ACCESS_KEY="k")
    assert said == "S3_SECRET_KEY must be set, as S3_ENDPOINT, S3_BUCKET and S3_ACCESS_KEY are"


@pytest.mark.parametrize("value", ["localhost:8080", "typetype-server", "10.0.0.1:8080/api"])
def test_a_missing_scheme_is_said(value):
    assert problem(TYPETYPE_API_BASE=value).endswith("http:// is missing in front of it")


def test_a_secret_is_not_repeated():
    assert "s3cret" not in problem(MEDIA_PROXY_URL="user:s3cret@proxy:1", REDIS_URL="s3cret", SECRET_KEY="s3cret")


def test_how_to_make_a_secret_key_is_said():
    command = "openssl rand -base64 32 | tr +/ -_"
    assert command in problem(SECRET_KEY="short")
    made = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert config.load({"SECRET_KEY": made}).secret_key == made.strip()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_CONCURENT_WORKERS", "MAX_CONCURRENT_WORKERS"),
        ("TYPETYPE_APIBASE", "TYPETYPE_API_BASE"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("database_url", "DATABASE_URL"),
        ("DB_PASSWORDFILE", "DB_PASSWORD_FILE"),
        ("S3_SECRETKEY", "S3_SECRET_KEY"),
    ],
)
def test_a_name_that_is_nearly_ours_is_told(name, meant):
    assert config.mistaken({name: "1"}) == [(name, meant)]


def test_the_names_of_others_are_left_alone():
    others = (
        "PATH HTTP_PROXY NO_PROXY DB_HOST DB_NAME DATABASE_USER REDIS_SERVICE_HOST REDIS_PORT_6379_TCP POSTGRES_URL"
    )
    ours = [name for names, _, _ in config.variables() for name in names]
    assert config.mistaken(dict.fromkeys([*others.split(), *ours, "SECRET_KEY_FILE", "DOWNLOADER_SERVER"], "1")) == []


def test_a_role_needs_postgres_and_redis():
    assert config.load_whole({"DATABASE_URL": "postgres://db/d", "REDIS_ADDR": "cache:6379"}).redis_location
    with pytest.raises(config.ConfigError) as raised:
        config.load_whole({"REDIS_PORT": "6379"})
    assert str(raised.value) == (
        "DATABASE_URL or DB_URL must be set; REDIS_URL, REDIS_ADDR or REDIS_HOST must be set"
        " (`downloader up` starts a private server where one is not)"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DATA_DIR": "~nobody-of-this-name/data"}, "DATA_DIR takes a folder: it names the home of a user"),
        ({"S3_ENDPOINT": "http://my_garage:3900"}, "no S3 client takes an underscore"),
        ({"CALLBACK_ALLOW_HOSTS": "a.test:80"}, "'a.test:80' is not the name of a host alone"),
        ({"DB_URL_FILE": "/not/there"}, "DB_URL_FILE cannot be read: No such file"),
    ],
    ids=str,
)
def test_what_a_variable_cannot_be_is_said(given, said):
    with pytest.raises(config.ConfigError, match=said):
        config.load(given)


def test_a_file_that_is_not_text_is_said_and_an_empty_one_is_unset(tmp_path):
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    with pytest.raises(config.ConfigError, match="DB_PASSWORD_FILE cannot be read: it is not UTF-8"):
        config.load({"DB_PASSWORD_FILE": str(tmp_path / "secret")})
    (tmp_path / "secret").write_text("\n")
    assert config.load({"HTTP_PORT_FILE": str(tmp_path / "secret")}).http_port == 18093
