"""Driving steps by hand: claims and finishes as a stage process does them, without one."""

from downloader.handoff import Achieved, Media, Plan
from downloader.job import Artifact, Entry, Resolved
from downloader.route import ROUTE, percent_window

LEASE = 15.0
PLAN = Plan(tracks=(), media=Media(operation="copy", container="mp4"), resolved=Resolved(container="mp4"))


def claim(store, job_id, name="resolve", worker="w/0", lease=LEASE):
    """Claim a step as ``worker``."""
    return store.claim(Entry(ROUTE[name].stage, job_id, name), worker, lease, ROUTE[name])


def finish(store, held, **fields):
    """Finish a claim with outputs that say nothing."""
    name = held.name
    result = Achieved(outputs=PLAN, **fields)
    return store.finish(held, result, timing=ROUTE[name].timing, percent=percent_window(name)[1])


def done_job(store, folder, wish, **artifact):
    """A job taken through every step, with an artifact that names a file in ``folder``."""
    posted = store.post(wish, limit=1000)
    for name in ROUTE:
        held = claim(store, posted.id, name)
        last = name == "publish"
        made = Artifact(
            storage="local",
            locator=str(folder / posted.id / "a.mp4"),
            name="a.mp4",
            size=1,
            content_type="video/mp4",
            **artifact,
        )
        finish(store, held, artifact=made if last else None)
    return store.job(posted.id)
