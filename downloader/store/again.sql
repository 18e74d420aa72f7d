-- Running a failed job once more, at an operator's wish.

-- name: steps_of
-- The job's steps with what they put out.
SELECT name, needs, state, outputs FROM downloader_steps WHERE job_id = %(id)s

-- name: equal
-- The unfinished job with the same wish, for a sentence that names it.
SELECT o.id FROM downloader_jobs j
  JOIN downloader_jobs o ON o.cache_key = j.cache_key AND o.status IN ('queued', 'running')
 WHERE j.id = %(id)s

-- name: run_again
-- As if posted now, but for the steps in "keep", which stay done. Guarded by the very end that the caller has seen; the
-- unique index on unfinished jobs refuses an equal one. Epochs go on rising: who worked on it before stays fenced off.
-- A job from before there were steps gets those of its route. One row for each step that is ready.
WITH job AS (
    UPDATE downloader_jobs j
       SET status = 'queued', stage = 'queued', error = NULL, error_code = NULL,
           queued_at = now(), started_at = NULL, finished_at = NULL, updated_at = now(),
           progress_percent = 0, downloaded_bytes = 0, total_bytes = 0,
           download_ms = NULL, mux_ms = NULL, upload_ms = NULL, total_ms = NULL,
           artifact = '', artifact_name = '', artifact_expires_at = NULL, sidecars = '[]',
           warnings = (SELECT coalesce(jsonb_agg(w), '[]')
                         FROM downloader_steps s, jsonb_array_elements(coalesce(s.outputs->'warnings', '[]')) w
                        WHERE s.job_id = j.id AND s.name = ANY(%(keep)s))
     WHERE id = %(id)s AND status = 'failed' AND finished_at = %(finished_at)s
    RETURNING id
), again AS (
    UPDATE downloader_steps s
       SET state = CASE WHEN s.needs <@ %(keep)s::text[] THEN 'ready' ELSE 'waiting' END, ready_at = now(),
           attempts = 0, crashes = 0, retries = 0, outputs = NULL, error = NULL, error_code = NULL,
           started_at = NULL, finished_at = NULL
      FROM job WHERE s.job_id = job.id AND s.name <> ALL(%(keep)s)
    RETURNING s.name, s.stage, s.state
), made AS (
    INSERT INTO downloader_steps (job_id, name, stage, needs, state, ready_at)
    SELECT job.id, s.name, s.stage, ARRAY(SELECT jsonb_array_elements_text(s.needs)),
           CASE WHEN s.needs = '[]' THEN 'ready' ELSE 'waiting' END, now()
      FROM job, jsonb_to_recordset(%(steps)s) AS s (name text, stage text, needs jsonb)
     WHERE NOT EXISTS (SELECT FROM downloader_steps WHERE job_id = job.id)
    RETURNING name, stage, state
)
SELECT name, stage FROM (SELECT * FROM again UNION ALL SELECT * FROM made) steps WHERE state = 'ready'
