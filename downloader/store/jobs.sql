-- What clients do to jobs. Lock order everywhere: the job's row, then its steps, then its reservation.

-- name: post prepared
-- The standing job with this key, or a new one with its steps; no row when the queue is full or another post just won.
-- Where there is no limit, nothing is counted.
WITH standing AS (
    -- In two halves, each of which has its index.
    SELECT id, status
      FROM (SELECT id, status, queued_at FROM downloader_jobs
             WHERE cache_key = %(cache_key)s AND status IN ('queued', 'running')
            UNION ALL
            SELECT id, status, queued_at FROM downloader_jobs
             WHERE cache_key = %(cache_key)s AND status = 'done' AND artifact <> ''
               AND (artifact_expires_at IS NULL OR artifact_expires_at > now())) AS halves
     ORDER BY status = 'done', queued_at DESC LIMIT 1
), unfinished AS (
    SELECT count(*) AS n FROM downloader_jobs WHERE status IN ('queued', 'running') AND %(limit)s::int IS NOT NULL
), made AS (
    INSERT INTO downloader_jobs (id, cache_key, url, status, options, queued_at, sealed_authorization, request_id)
    SELECT %(id)s, %(cache_key)s, %(url)s, 'queued', %(options)s, now(), %(authorization)s, %(request_id)s
     WHERE NOT EXISTS (SELECT FROM standing)
       AND (%(limit)s::int IS NULL OR (SELECT n FROM unfinished) < %(limit)s::int)
    ON CONFLICT (cache_key) WHERE status IN ('queued', 'running') DO NOTHING
    RETURNING id, status
), steps AS (
    INSERT INTO downloader_steps (job_id, name, stage, needs, state, ready_at)
    SELECT made.id, s.name, s.stage, ARRAY(SELECT jsonb_array_elements_text(s.needs)),
           CASE WHEN s.needs = '[]' THEN 'ready' ELSE 'waiting' END, now()
      FROM made, jsonb_to_recordset(%(steps)s) AS s (name text, stage text, needs jsonb)
)
SELECT id, status, false AS created, (SELECT n FROM unfinished) AS unfinished FROM standing
UNION ALL
SELECT id, status, true, (SELECT n FROM unfinished) FROM made

-- name: job prepared
SELECT * FROM downloader_jobs WHERE id = %(id)s

-- name: jobs
SELECT * FROM downloader_jobs WHERE id = ANY(%(ids)s)

-- name: recent
SELECT * FROM downloader_jobs
 WHERE %(status)s = '' OR status = %(status)s
 ORDER BY queued_at DESC LIMIT %(limit)s

-- name: cancel
-- A compare-and-swap against the finish: exactly one of them finds the job unfinished.
WITH job AS (
    UPDATE downloader_jobs
       SET status = 'failed', error = 'The job was cancelled.', error_code = 'cancelled', finished_at = now(),
           total_ms = extract(epoch FROM now() - queued_at) * 1000, sealed_authorization = NULL, updated_at = now()
     WHERE id = %(id)s AND status IN ('queued', 'running')
    RETURNING *
), steps AS (
    UPDATE downloader_steps s
       SET state = 'cancelled', worker = NULL, lease_until = NULL, finished_at = now()
      FROM job WHERE s.job_id = job.id AND s.state IN ('waiting', 'ready', 'running')
), reservation AS (
    DELETE FROM downloader_reservations r USING job WHERE r.job_id = job.id
)
SELECT * FROM job

-- name: delete
DELETE FROM downloader_jobs WHERE id = %(id)s AND status IN ('done', 'failed') RETURNING *

-- name: artifact_missing
UPDATE downloader_jobs SET artifact = '', updated_at = now() WHERE id = %(id)s AND artifact = %(locator)s

-- name: expired_artifacts
SELECT * FROM downloader_jobs
 WHERE status = 'done' AND artifact <> '' AND artifact_expires_at <= now()
   AND (artifact_expires_at, id) > (%(after)s, %(after_id)s)
 ORDER BY artifact_expires_at, id LIMIT %(limit)s

-- name: unfinished_of
-- Which of these jobs may still have files of their own in the work folder.
SELECT id FROM downloader_jobs WHERE id = ANY(%(ids)s) AND status IN ('queued', 'running')

-- name: standing_of
-- Which of these jobs may have something in the artifact store: a standing artifact, or one that is being published.
SELECT id FROM downloader_jobs
 WHERE id = ANY(%(ids)s) AND (status IN ('queued', 'running') OR status = 'done' AND artifact <> '')

-- name: ping
SELECT 1 AS one
