-- Callbacks: whom to tell that a job has ended, and how far that has come. Jobs that ended before have none.

CREATE TABLE downloader_callbacks (
    job_id text PRIMARY KEY REFERENCES downloader_jobs (id) ON DELETE CASCADE,
    url text NOT NULL,
    state text NOT NULL DEFAULT 'due',
    -- Raised by every claim and every end; what a sender writes afterwards names the epoch that it claimed.
    epoch integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    -- When to try next; while one is being sent, when its claim lapses.
    due_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    settled_at timestamptz,
    CONSTRAINT downloader_callbacks_state CHECK (state IN ('due', 'sent', 'dropped')),
    CONSTRAINT downloader_callbacks_settled CHECK ((state = 'due') = (settled_at IS NULL))
);
CREATE INDEX downloader_callbacks_due ON downloader_callbacks (due_at) WHERE state = 'due';

-- In the transaction that ends the job, whichever statement ends it. A job that an operator runs again tells its new
-- end as well.
CREATE FUNCTION downloader_make_callback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO downloader_callbacks (job_id, url) VALUES (NEW.id, NEW.options->>'callbackUrl')
    ON CONFLICT (job_id) DO UPDATE
        SET url = excluded.url, state = 'due', epoch = downloader_callbacks.epoch + 1, attempts = 0, due_at = now(),
            last_error = NULL, settled_at = NULL;
    RETURN NULL;
END $$;
-- The WHEN is all that a job without a callback pays.
CREATE TRIGGER downloader_jobs_callback AFTER UPDATE OF status ON downloader_jobs FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND NEW.status IN ('done', 'failed')
          AND jsonb_typeof(NEW.options->'callbackUrl') = 'string')
    EXECUTE FUNCTION downloader_make_callback();
