-- What stages do to steps. Every write of a worker names the epoch that it claimed and counts its rows.

-- name: claim prepared
-- One guarded UPDATE raises the epoch. A worker may claim anew what it claimed before an answer was lost. The job
-- starts running with its first step. Durable: were a claim lost in a crash of Postgres, the next one would be given the
-- same epoch, and two workers would have it.
WITH job AS (
    SELECT id FROM downloader_jobs WHERE id = %(job_id)s AND status IN ('queued', 'running') FOR UPDATE
), step AS (
    UPDATE downloader_steps s
       SET state = 'running', epoch = s.epoch + 1, attempts = s.attempts + 1, worker = %(worker)s,
           lease_until = now() + %(lease)s * interval '1 second', started_at = now()
      FROM job
     WHERE s.job_id = job.id AND s.name = %(name)s AND s.stage = %(stage)s
       AND (s.state = 'ready' AND s.ready_at <= now() OR s.state = 'running' AND s.worker = %(worker)s)
    RETURNING s.*
), started AS (
    UPDATE downloader_jobs j
       SET status = 'running', stage = %(public)s, started_at = coalesce(j.started_at, now()), updated_at = now()
      FROM step WHERE j.id = step.job_id
    RETURNING j.*
)
SELECT started.*, step.epoch, step.attempts, step.crashes, step.retries,
       extract(epoch FROM now() - step.ready_at) AS waited,
       (SELECT jsonb_object_agg(n.name, n.outputs) FROM downloader_steps n
         WHERE n.job_id = step.job_id AND n.name = ANY(step.needs)) AS inputs
  FROM step, started

-- name: finish prepared
-- The result, the public stage and the next steps' readiness in one transaction, durable. The job's lock is taken by
-- a statement of its own, so that the next one sees what a sibling finished meanwhile.
SELECT FROM downloader_jobs WHERE id = %(job_id)s FOR UPDATE;
WITH step AS (
    UPDATE downloader_steps
       SET state = 'done', outputs = %(outputs)s, worker = NULL, lease_until = NULL, finished_at = now(),
           error = NULL, error_code = NULL
     WHERE job_id = %(job_id)s AND name = %(name)s AND epoch = %(epoch)s AND state = 'running'
       AND EXISTS (SELECT FROM downloader_jobs WHERE id = %(job_id)s AND status = 'running')
    RETURNING job_id, name, started_at
), next AS (
    UPDATE downloader_steps w
       SET state = 'ready', ready_at = now()
      FROM step
     WHERE w.job_id = step.job_id AND w.state = 'waiting' AND step.name = ANY(w.needs)
       AND NOT EXISTS (SELECT FROM downloader_steps n
                        WHERE n.job_id = w.job_id AND n.name = ANY(w.needs) AND n.name <> step.name
                          AND n.state <> 'done')
    RETURNING w.job_id, w.name, w.stage
), last AS (
    SELECT step.*, NOT EXISTS (SELECT FROM downloader_steps n
                                WHERE n.job_id = step.job_id AND n.name <> step.name AND n.state <> 'done') AS ended,
           extract(epoch FROM now() - step.started_at) * 1000 AS ms
      FROM step
), job AS (
    UPDATE downloader_jobs j
       SET status = CASE WHEN ended THEN 'done' ELSE j.status END,
           stage = CASE WHEN ended THEN 'done' ELSE j.stage END,
           finished_at = CASE WHEN ended THEN now() END,
           total_ms = CASE WHEN ended THEN extract(epoch FROM now() - j.queued_at) * 1000 END,
           sealed_authorization = CASE WHEN ended THEN NULL ELSE j.sealed_authorization END,
           progress_percent = CASE WHEN ended THEN 100 ELSE greatest(j.progress_percent, %(percent)s) END,
           total_bytes = coalesce(%(total_bytes)s, j.total_bytes),
           downloaded_bytes = CASE WHEN %(timing)s = 'download_ms' THEN coalesce(%(total_bytes)s, j.downloaded_bytes)
                                   ELSE j.downloaded_bytes END,
           title = coalesce(%(title)s, j.title),
           duration_ms = coalesce(%(duration_ms)s, j.duration_ms),
           resolved = coalesce(%(resolved)s::jsonb, j.resolved),
           warnings = j.warnings || %(warnings)s::jsonb,
           sidecars = coalesce(%(sidecars)s::jsonb, j.sidecars),
           artifact = coalesce(%(artifact)s, j.artifact),
           storage = coalesce(%(storage)s, j.storage),
           artifact_name = coalesce(%(artifact_name)s, j.artifact_name),
           artifact_size = coalesce(%(artifact_size)s, j.artifact_size),
           artifact_type = coalesce(%(artifact_type)s, j.artifact_type),
           artifact_digest = coalesce(%(artifact_digest)s, j.artifact_digest),
           artifact_expires_at = coalesce(%(artifact_expires_at)s, j.artifact_expires_at),
           download_ms = CASE WHEN %(timing)s = 'download_ms' THEN ms ELSE j.download_ms END,
           mux_ms = CASE WHEN %(timing)s = 'mux_ms' THEN ms ELSE j.mux_ms END,
           upload_ms = CASE WHEN %(timing)s = 'upload_ms' THEN ms ELSE j.upload_ms END,
           updated_at = now()
      FROM last WHERE j.id = last.job_id
), gone AS (
    DELETE FROM downloader_reservations r USING last WHERE r.job_id = last.job_id AND last.ended
), wiped AS (
    -- What a done job's steps have handed to others: links to media, some of them signed. Nobody asks for it any more.
    UPDATE downloader_steps s SET outputs = '{}'
      FROM last
     WHERE last.ended AND s.job_id = last.job_id
       AND EXISTS (SELECT FROM downloader_steps n WHERE n.job_id = s.job_id AND s.name = ANY(n.needs))
)
SELECT last.ended, next.name, next.stage FROM last LEFT JOIN next ON true

-- name: outcome
-- What became of a claim: for answers that were lost, and entries that come again. Ready steps of the job come along.
SELECT j.status, j.error_code, s.state, s.epoch, s.stage AS own_stage, r.name, r.stage
  FROM downloader_jobs j
  JOIN downloader_steps s ON s.job_id = j.id AND s.name = %(name)s
  LEFT JOIN downloader_steps r ON r.job_id = j.id AND r.state = 'ready' AND r.ready_at <= now()
 WHERE j.id = %(job_id)s

-- name: fail
-- The end of the job with this step. Everything that has not ended is cancelled with it.
SELECT FROM downloader_jobs WHERE id = %(job_id)s FOR UPDATE;
WITH step AS (
    UPDATE downloader_steps
       SET state = 'failed', worker = NULL, lease_until = NULL, finished_at = now(),
           crashes = crashes + %(crashes)s, error = %(error)s, error_code = %(error_code)s
     WHERE job_id = %(job_id)s AND name = %(name)s AND epoch = %(epoch)s AND state = 'running'
       AND (NOT %(expired_only)s OR lease_until < now())
    RETURNING job_id, name
), others AS (
    UPDATE downloader_steps s
       SET state = 'cancelled', worker = NULL, lease_until = NULL, finished_at = now()
      FROM step WHERE s.job_id = step.job_id AND s.name <> step.name AND s.state IN ('waiting', 'ready', 'running')
), job AS (
    UPDATE downloader_jobs j
       SET status = 'failed', error = %(error)s, error_code = %(error_code)s, finished_at = now(),
           total_ms = extract(epoch FROM now() - queued_at) * 1000, sealed_authorization = NULL, updated_at = now()
      FROM step WHERE j.id = step.job_id AND j.status = 'running'
), gone AS (
    DELETE FROM downloader_reservations r USING step WHERE r.job_id = step.job_id
)
SELECT name FROM step

-- name: give_back
-- Ready again: handed back at a drain, tried again after a pause, or taken from the dead.
UPDATE downloader_steps
   SET state = 'ready', ready_at = now() + %(delay)s * interval '1 second', worker = NULL, lease_until = NULL,
       crashes = crashes + %(crashes)s, retries = retries + %(retries)s, error = %(error)s, error_code = %(error_code)s
 WHERE job_id = %(job_id)s AND name = %(name)s AND epoch = %(epoch)s AND state = 'running'
   AND (NOT %(expired_only)s OR lease_until < now())
RETURNING job_id, name, stage

-- name: beat prepared
-- Lengthen the leases that are still ours. Need not be durable.
SET LOCAL synchronous_commit = off;
UPDATE downloader_steps s
   SET lease_until = now() + %(lease)s * interval '1 second'
  FROM unnest(%(job_ids)s::text[], %(names)s::text[], %(epochs)s::int[]) AS held (job_id, name, epoch)
 WHERE s.job_id = held.job_id AND s.name = held.name AND s.epoch = held.epoch AND s.state = 'running'
RETURNING s.job_id, s.name, s.epoch

-- name: held prepared
-- Which of these claims still hold; of the others, whether the job was ended.
SELECT h.job_id, h.name, h.epoch, coalesce(s.state = 'running' AND s.epoch = h.epoch, false) AS holds, j.error_code
  FROM unnest(%(job_ids)s::text[], %(names)s::text[], %(epochs)s::int[]) AS h (job_id, name, epoch)
  LEFT JOIN downloader_steps s ON s.job_id = h.job_id AND s.name = h.name
  LEFT JOIN downloader_jobs j ON j.id = h.job_id

-- name: here prepared
-- A sign of life; the seconds since the one before, by the clock that leases end by.
SET LOCAL synchronous_commit = off;
WITH before AS (
    SELECT seen_at FROM downloader_workers WHERE id = %(id)s
), told AS (
    INSERT INTO downloader_workers (id, stage, slots, seen_at) VALUES (%(id)s, %(stage)s, %(slots)s, now())
    ON CONFLICT (id) DO UPDATE SET seen_at = now(), slots = excluded.slots
)
SELECT extract(epoch FROM now() - seen_at) AS silent FROM before

-- name: leave
DELETE FROM downloader_workers WHERE id = %(id)s

-- name: workers
SELECT stage, sum(slots)::int AS slots FROM downloader_workers
 WHERE seen_at > now() - %(age)s * interval '1 second' GROUP BY stage

-- name: forget_workers
DELETE FROM downloader_workers WHERE seen_at < now() - interval '1 hour'

-- name: backlog
-- Per stage: steps that wait for a slot or for the end of a pause, and how long the oldest has waited for a slot
-- (seconds); steps that run. In two halves, each of which has its index: ended steps are many.
SELECT stage, sum(ready)::int AS ready, sum(running)::int AS running, max(oldest) AS oldest
  FROM (SELECT stage, count(*) AS ready, 0 AS running,
               greatest(max(extract(epoch FROM now() - ready_at)), 0) AS oldest
          FROM downloader_steps WHERE state = 'ready' GROUP BY stage
        UNION ALL
        SELECT stage, 0, count(*), 0 FROM downloader_steps WHERE state = 'running' GROUP BY stage) AS halves
 GROUP BY stage

-- name: due
-- Ready steps that have been so for a moment, oldest first.
SELECT job_id, name, stage FROM downloader_steps
 WHERE state = 'ready' AND stage = %(stage)s AND ready_at <= now() - %(grace)s * interval '1 second'
 ORDER BY ready_at LIMIT %(limit)s

-- name: due_counts
SELECT stage, count(*) AS due FROM downloader_steps
 WHERE state = 'ready' AND ready_at <= now() - %(grace)s * interval '1 second' GROUP BY stage

-- name: lapsed
-- Running steps whose lease ran out, or whose worker is known to be dead.
SELECT job_id, name, stage, epoch, crashes, worker, lease_until < now() AS expired FROM downloader_steps
 WHERE state = 'running'
   AND (%(worker)s = '' AND lease_until < now() OR %(worker)s <> '' AND starts_with(worker, %(worker)s || '/'))

-- name: time_out
-- Jobs that began longer ago than they may take while none of their steps runs: they pause after an error, or wait for
-- disk or a slot. Of a running step its worker sees to that.
WITH late AS (
    SELECT id FROM downloader_jobs j
     WHERE status = 'running' AND started_at < now() - %(limit)s * interval '1 second'
       AND NOT EXISTS (SELECT FROM downloader_steps s WHERE s.job_id = j.id AND s.state = 'running')
       FOR UPDATE SKIP LOCKED
), job AS (
    UPDATE downloader_jobs j
       SET status = 'failed', error = %(error)s, error_code = %(error_code)s, finished_at = now(),
           total_ms = extract(epoch FROM now() - queued_at) * 1000, sealed_authorization = NULL, updated_at = now()
      FROM late WHERE j.id = late.id
    RETURNING j.id
), steps AS (
    UPDATE downloader_steps s
       SET state = 'cancelled', worker = NULL, lease_until = NULL, finished_at = now()
      FROM job WHERE s.job_id = job.id AND s.state IN ('waiting', 'ready', 'running')
), gone AS (
    DELETE FROM downloader_reservations r USING job WHERE r.job_id = job.id
)
SELECT id FROM job

-- name: stepless
-- Unfinished jobs without a step: a service from before there were steps wrote them, after our migrations. One that is
-- still about them says so in updated_at.
SELECT * FROM downloader_jobs j
 WHERE j.status IN ('queued', 'running') AND greatest(j.queued_at, j.updated_at) < now() - interval '1 minute'
   AND NOT EXISTS (SELECT FROM downloader_steps s WHERE s.job_id = j.id)
 LIMIT 100

-- name: give_steps
WITH job AS (
    SELECT id FROM downloader_jobs WHERE id = %(id)s AND status IN ('queued', 'running') FOR UPDATE
)
INSERT INTO downloader_steps (job_id, name, stage, needs, state, ready_at)
SELECT job.id, s.name, s.stage, ARRAY(SELECT jsonb_array_elements_text(s.needs)),
       CASE WHEN s.needs = '[]' THEN 'ready' ELSE 'waiting' END, now()
  FROM job, jsonb_to_recordset(%(steps)s) AS s (name text, stage text, needs jsonb)
ON CONFLICT DO NOTHING

-- name: unblock
-- Steps that wait although all they need is done: cannot be, and is mended all the same.
UPDATE downloader_steps w SET state = 'ready', ready_at = now()
 WHERE w.state = 'waiting'
   AND NOT EXISTS (SELECT FROM downloader_steps n
                    WHERE n.job_id = w.job_id AND n.name = ANY(w.needs) AND n.state <> 'done')
   AND EXISTS (SELECT FROM downloader_jobs j WHERE j.id = w.job_id AND j.status IN ('queued', 'running'))

-- name: reserve prepared
-- Serialized per volume; the bytes are set aside when what is still to come of them fits beside what is still to come of
-- everybody else's. Who is refused gets a row of no bytes, which keeps the time since when it waits: once that is long,
-- nobody who came later is let in while others still hold what it waits for. Always one row, so that the caller can tell
-- "not yet" from "never".
-- The job's row is locked, so that its end, or the step's, comes wholly before or wholly after.
SELECT pg_advisory_xact_lock(hashtext('downloader volume ' || %(volume)s));
SELECT FROM downloader_jobs WHERE id = %(job_id)s FOR UPDATE;
WITH step AS (
    SELECT job_id FROM downloader_steps
     WHERE job_id = %(job_id)s AND name = %(name)s AND epoch = %(epoch)s AND state = 'running'
), mine AS (
    SELECT coalesce(max(bytes), 0) > 0 AS holds, coalesce(min(since), now()) AS since
      FROM downloader_reservations WHERE volume = %(volume)s AND job_id = %(job_id)s
), others AS (
    SELECT coalesce(sum(greatest(r.bytes - coalesce(w.bytes, 0), 0)), 0)::bigint AS bytes,
           coalesce(max(r.bytes), 0) > 0 AS hold,
           min(r.since) FILTER (WHERE r.bytes = 0) AS first
      FROM downloader_reservations r
      LEFT JOIN unnest(%(job_ids)s::text[], %(written)s::bigint[]) AS w (job_id, bytes) ON w.job_id = r.job_id
     WHERE r.volume = %(volume)s AND r.job_id <> %(job_id)s
), answer AS (
    SELECT others.bytes AS others,
           %(left)s::bigint - others.bytes >= %(to_come)s::bigint AS fits,
           others.hold AND NOT mine.holds
           AND coalesce(others.first < least(mine.since, now() - %(patience)s * interval '1 second'), false) AS behind
      FROM mine, others
), made AS (
    INSERT INTO downloader_reservations AS r (job_id, volume, bytes)
    SELECT step.job_id, %(volume)s, CASE WHEN answer.fits AND NOT answer.behind THEN %(bytes)s::bigint ELSE 0 END
      FROM step, answer
    ON CONFLICT (job_id) DO UPDATE
        SET volume = excluded.volume, bytes = CASE WHEN excluded.bytes > 0 THEN excluded.bytes ELSE r.bytes END
)
SELECT EXISTS (SELECT FROM step) AS holds, answer.* FROM answer

-- name: unreserve
-- Reservations of jobs that have ended: cannot be, and are mended all the same.
DELETE FROM downloader_reservations r USING downloader_jobs j
 WHERE j.id = r.job_id AND j.status NOT IN ('queued', 'running')

-- name: reserved
SELECT job_id, bytes FROM downloader_reservations WHERE volume = %(volume)s AND bytes > 0
