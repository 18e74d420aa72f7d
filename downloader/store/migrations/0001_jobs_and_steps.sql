-- Jobs, steps, reservations and workers. Adopts the one table of an existing deployment in place: done jobs keep
-- serving their artifacts, queued and running ones run again from the start.

CREATE TABLE IF NOT EXISTS downloader_jobs (
    id text PRIMARY KEY,
    cache_key text NOT NULL,
    url text NOT NULL,
    status text NOT NULL,
    title text NOT NULL DEFAULT '',
    options jsonb NOT NULL,
    progress jsonb NOT NULL DEFAULT '{}',
    resolved jsonb,
    artifact text NOT NULL DEFAULT '',
    storage text NOT NULL DEFAULT '',
    artifact_expires_at timestamptz,
    error text,
    error_code text,
    queued_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    download_ms bigint,
    mux_ms bigint,
    total_ms bigint,
    updated_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE downloader_jobs
    ALTER COLUMN progress SET DEFAULT '{}',
    ADD COLUMN stage text NOT NULL DEFAULT 'queued',
    ADD COLUMN progress_percent real NOT NULL DEFAULT 0,
    ADD COLUMN downloaded_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN total_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN duration_ms bigint,
    ADD COLUMN upload_ms bigint,
    ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN sidecars jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN artifact_name text NOT NULL DEFAULT '',
    ADD COLUMN artifact_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN artifact_type text NOT NULL DEFAULT '',
    ADD COLUMN artifact_digest text NOT NULL DEFAULT '',
    ADD COLUMN sealed_authorization bytea,
    ADD COLUMN request_id text;

-- A job's row is written about ten times: room on its page keeps the new versions out of the indexes (HOT).
ALTER TABLE downloader_jobs SET (fillfactor = 50);

CREATE TABLE downloader_steps (
    job_id text NOT NULL REFERENCES downloader_jobs (id) ON DELETE CASCADE,
    name text NOT NULL,
    stage text NOT NULL,
    needs text[] NOT NULL DEFAULT '{}',
    state text NOT NULL,
    epoch integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    retries integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    worker text,
    outputs jsonb,
    error text,
    error_code text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (job_id, name),
    CONSTRAINT downloader_steps_state CHECK (
        state IN ('waiting', 'ready', 'running', 'done', 'failed', 'cancelled')
    ),
    CONSTRAINT downloader_steps_lease CHECK (
        (state = 'running') = (lease_until IS NOT NULL) AND (state = 'running') = (worker IS NOT NULL)
    ),
    CONSTRAINT downloader_steps_ready CHECK (state <> 'ready' OR ready_at IS NOT NULL),
    CONSTRAINT downloader_steps_outputs CHECK (state <> 'done' OR outputs IS NOT NULL)
);
CREATE INDEX downloader_steps_ready ON downloader_steps (stage, ready_at) WHERE state = 'ready';
CREATE INDEX downloader_steps_running ON downloader_steps (lease_until) WHERE state = 'running';

-- Disk set aside, per volume; gone with the job's end.
CREATE TABLE downloader_reservations (
    job_id text PRIMARY KEY REFERENCES downloader_jobs (id) ON DELETE CASCADE,
    volume text NOT NULL,
    bytes bigint NOT NULL CHECK (bytes >= 0),
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX downloader_reservations_volume ON downloader_reservations (volume);

-- Who is alive: one row per stage process, refreshed with its beats. Losing it in a crash costs one beat.
CREATE UNLOGGED TABLE downloader_workers (
    id text PRIMARY KEY,
    stage text NOT NULL,
    slots integer NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- Adoption: what the table held before.
UPDATE downloader_jobs SET status = 'failed', error = 'The job was in an unknown state.', error_code = 'download_failed'
 WHERE status NOT IN ('queued', 'running', 'done', 'failed');
UPDATE downloader_jobs
   SET downloaded_bytes = CASE WHEN progress->>'DownloadedBytes' ~ '^\d{1,18}$'
                               THEN (progress->>'DownloadedBytes')::bigint ELSE 0 END,
       total_bytes = CASE WHEN progress->>'TotalBytes' ~ '^\d{1,18}$'
                          THEN (progress->>'TotalBytes')::bigint ELSE 0 END,
       stage = CASE WHEN status = 'done' THEN 'done'
                    WHEN status = 'failed' AND progress->>'Stage' IN ('extract', 'download', 'mux')
                    THEN progress->>'Stage' ELSE 'queued' END,
       progress_percent = CASE WHEN status = 'done' THEN 100 ELSE 0 END,
       artifact_name = CASE WHEN artifact = '' THEN ''
                            ELSE coalesce(nullif(resolved->>'fileName', ''), regexp_replace(artifact, '^.*/', '')) END,
       finished_at = CASE WHEN status IN ('done', 'failed') THEN coalesce(finished_at, updated_at) END;
UPDATE downloader_jobs
   SET status = 'queued', started_at = NULL, finished_at = NULL, error = NULL, error_code = NULL,
       downloaded_bytes = 0, total_bytes = 0, artifact = '', artifact_name = '', artifact_expires_at = NULL
 WHERE status IN ('queued', 'running');
-- Equal jobs that wait side by side all run, the later ones under keys of their own.
UPDATE downloader_jobs j SET cache_key = j.cache_key || ':' || j.id
 WHERE status = 'queued' AND EXISTS (
       SELECT FROM downloader_jobs o
        WHERE o.cache_key = j.cache_key AND o.status = 'queued' AND (o.queued_at, o.id) < (j.queued_at, j.id));
INSERT INTO downloader_steps (job_id, name, stage, needs, state, ready_at)
SELECT j.id, s.name, s.name, s.needs, CASE WHEN s.needs = '{}' THEN 'ready' ELSE 'waiting' END, now()
  FROM downloader_jobs j,
       (VALUES ('resolve', '{}'::text[]), ('fetch', '{resolve}'), ('mux', '{resolve,fetch}'),
               ('publish', '{resolve,mux}')) AS s (name, needs)
 WHERE j.status = 'queued';

ALTER TABLE downloader_jobs
    ADD CONSTRAINT downloader_jobs_status CHECK (status IN ('queued', 'running', 'done', 'failed')),
    ADD CONSTRAINT downloader_jobs_stage CHECK (stage IN ('queued', 'extract', 'download', 'mux', 'done')),
    ADD CONSTRAINT downloader_jobs_end CHECK ((status IN ('done', 'failed')) = (finished_at IS NOT NULL)),
    ADD CONSTRAINT downloader_jobs_wiped CHECK (status IN ('queued', 'running') OR sealed_authorization IS NULL);

-- One unfinished job per key, settled here however many web processes post it at once.
CREATE UNIQUE INDEX downloader_jobs_unfinished ON downloader_jobs (cache_key) WHERE status IN ('queued', 'running');
CREATE INDEX downloader_jobs_standing ON downloader_jobs (cache_key) WHERE status = 'done' AND artifact <> '';
CREATE INDEX downloader_jobs_expiring ON downloader_jobs (artifact_expires_at) WHERE status = 'done' AND artifact <> '';
CREATE INDEX downloader_jobs_recent ON downloader_jobs (queued_at DESC);

-- The transition table of downloader/states.py once more; a test holds the two together.
CREATE FUNCTION downloader_refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'transition not allowed on %: % to %', TG_TABLE_NAME, OLD, NEW USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER downloader_jobs_transition BEFORE UPDATE OF status ON downloader_jobs FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND OLD.status || '>' || NEW.status NOT IN (
        'queued>running', 'queued>failed', 'running>done', 'running>failed', 'failed>queued'))
    EXECUTE FUNCTION downloader_refuse_transition();
CREATE TRIGGER downloader_steps_transition BEFORE UPDATE OF state ON downloader_steps FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN (
        'waiting>ready', 'waiting>failed', 'waiting>cancelled',
        'ready>running', 'ready>failed', 'ready>cancelled',
        'running>done', 'running>ready', 'running>failed', 'running>cancelled',
        'done>ready', 'done>waiting', 'failed>ready', 'failed>waiting', 'cancelled>ready', 'cancelled>waiting'))
    EXECUTE FUNCTION downloader_refuse_transition();
