"""The examples of docs/operating.md: its signature check takes what is really sent, its SQL does what it says."""

import re

import pytest

from downloader.callback_post import send
from downloader.callbacks import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from downloader.config import Settings
from downloader.job import Options
from downloader.store import NewJob, Store
from tests.receiver import Receiver
from tests.service import ROOT

SECRET = "shared secret"
SECTION = (
    (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").partition("## Callbacks\n")[2].partition("\n## ")[0]
)
LOOK, AGAIN = re.findall(r"```sql\n(.*?)```", SECTION, flags=re.DOTALL)
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)


@pytest.fixture
def genuine():
    names = {}
    exec(compile(EXAMPLE, "operating.md", "exec"), names)  # noqa: S102 - the documentation's own code
    return names["genuine"]


def test_what_is_sent_is_genuine_and_no_other(genuine):
    with Receiver() as receiver:
        settings = Settings(callback_allow_hosts=("127.0.0.1",), callback_secret=SECRET)
        send(receiver.url, b'{"id": "a"}', settings)
    ((_, headers, body),) = receiver.got
    assert genuine(SECRET, headers, body)
    assert not genuine("another secret", headers, body)
    assert not genuine(SECRET, headers, body + b" ")
    assert not genuine(SECRET, headers | {SIGNATURE_HEADER: "sha256="}, body)
    later = str(int(headers[TIMESTAMP_HEADER]) + 1)
    assert not genuine(SECRET, headers | {TIMESTAMP_HEADER: later}, body)


def test_an_old_one_is_not_genuine(genuine):
    signature = sign(SECRET, 1_700_000_000, b"{}")
    assert not genuine(SECRET, {TIMESTAMP_HEADER: "1700000000", SIGNATURE_HEADER: signature}, b"{}")


def test_a_dropped_one_is_seen_and_sent_again(database_url):
    store = Store(database_url)
    job_id = store.post(NewJob("https://example.test/v", Options(callback_url="http://a/"), "k"), limit=1).id
    store.cancel(job_id)
    store.callback_dropped(store.claim_callback(60, 10), "It refused.")
    (row,) = store.db.rows(LOOK)
    assert (row["job_id"], row["state"], row["attempts"], row["last_error"]) == (job_id, "dropped", 1, "It refused.")
    assert store.claim_callback(60, 10) is None
    store.db.rows(AGAIN.replace("…", job_id))
    assert store.claim_callback(60, 10).attempt == 1
    store.close()
