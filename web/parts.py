"""What the frontend stands on, built once per process."""

from dataclasses import dataclass, field

from downloader.artifacts import ArtifactStore, open_store
from downloader.broker import Broker
from downloader.clock import Clock, SystemClock
from downloader.config import Settings
from downloader.job import Artifact
from downloader.store import Store
from downloader.vault import Vault
from web.exposition import Exposition
from web.hub import Hub
from web.present import Presenter
from web.reading import read


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that views use. ``hub`` is started by whoever runs the app, and closed with ``close``."""

    settings: Settings
    store: Store
    broker: Broker
    artifacts: ArtifactStore
    vault: Vault
    hub: Hub
    presenter: Presenter
    clock: Clock
    exposition: Exposition
    _others: dict[str, ArtifactStore] = field(default_factory=dict)

    def artifacts_of(self, artifact: Artifact) -> ArtifactStore:
        """The store that keeps ``artifact``: rows may be older than the settings. Raises StorageRefused."""
        kind = artifact.storage
        if kind == self.artifacts.kind:
            return self.artifacts
        if kind not in self._others:
            self._others[kind] = open_store(self.settings, kind=kind, clock=self.clock)
        return self._others[kind]

    def close(self) -> None:
        """End the streams of all clients, then every connection."""
        self.hub.close()
        self.broker.close()
        self.store.close()
        for store in (self.artifacts, *self._others.values()):
            store.close()


def build(settings: Settings) -> Parts:
    """The real parts; connects to nothing yet, but makes the secret key when there is none."""
    store = Store(settings.database_location)
    broker = Broker(settings.redis_location, settings.redis_queue_key, snapshot_ttl=settings.job_ttl_seconds)
    clock = SystemClock()
    return Parts(
        settings=settings,
        store=store,
        broker=broker,
        artifacts=open_store(settings, clock=clock),
        vault=Vault.from_settings(settings),
        hub=Hub(store, broker),
        presenter=Presenter(settings.public_base_url, clock),
        clock=clock,
        exposition=Exposition(lambda: read(store, broker, settings), clock),
    )
