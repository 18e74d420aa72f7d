"""The first stage: asks TypeType-Server what a source offers, and chooses."""

from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.errors import MediaTooLarge
from downloader.typetype.choose import Source, choose
from downloader.typetype.client import Client
from downloader.typetype.tracks import known_bytes
from stages.contract import StepContext, StepResult


class ResolveStage:
    """Turns a job's URL and options into a Plan. Threads share its warm connections."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings.typetype_api_base, SystemClock())

    def run(self, step: StepContext) -> StepResult:
        """See Stage: the outputs are a Plan. The disk for it is reserved when its fetch starts.

        Raises ExtractionFailed, UpstreamUnavailable, NoStream or MediaTooLarge.
        """
        job = step.job
        offer = self._client.streams(
            job.url, authorization=step.authorization, request_id=job.request_id, check=step.check
        )
        plan = choose(offer, job.options, Source(job.url, step.settings.typetype_api_base))
        size = known_bytes(plan.tracks)
        limit = step.settings.media_max_bytes
        if size is not None and size > limit:
            raise MediaTooLarge(f"The media has {size} bytes; at most {limit} are allowed.")
        return StepResult(
            outputs=plan,
            title=plan.title,
            duration_ms=plan.duration_ms,
            resolved=plan.resolved,
            warnings=plan.warnings,
            total_bytes=size,
            fields={"tracks": len(plan.tracks), "reserve_bytes": plan.reserve_bytes},
        )

    def close(self) -> None:
        """See Stage."""
        self._client.close()
