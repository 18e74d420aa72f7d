-- Who is told that a job has ended. A row is made by a trigger, in the transaction that ends the job.

-- name: claim
-- One that is due, for one sender: the attempt is counted and the next is put off by a lease, which is all that
-- remains of a sender that dies. What has had all its attempts is dropped: its last sender died.
WITH due AS (
    SELECT c.job_id FROM downloader_callbacks c
      JOIN downloader_jobs j ON j.id = c.job_id AND j.status IN ('done', 'failed')
     WHERE c.state = 'due' AND c.due_at <= now()
     ORDER BY c.due_at LIMIT 1 FOR UPDATE OF c SKIP LOCKED
), dropped AS (
    UPDATE downloader_callbacks c SET state = 'dropped', settled_at = now()
      FROM due WHERE c.job_id = due.job_id AND c.attempts >= %(limit)s
), claimed AS (
    UPDATE downloader_callbacks c
       SET epoch = c.epoch + 1, attempts = c.attempts + 1, due_at = now() + %(lease)s * interval '1 second'
      FROM due WHERE c.job_id = due.job_id AND c.attempts < %(limit)s
    RETURNING c.job_id, c.url, c.epoch, c.attempts
)
SELECT j.*, claimed.url AS callback_url, claimed.epoch, claimed.attempts
  FROM claimed JOIN downloader_jobs j ON j.id = claimed.job_id

-- name: settle
-- How a claimed attempt ended; nothing when another sender has taken it since, or the job has ended anew.
UPDATE downloader_callbacks
   SET state = %(state)s, last_error = %(error)s,
       due_at = CASE WHEN %(state)s = 'due' THEN now() + %(delay)s * interval '1 second' ELSE due_at END,
       settled_at = CASE WHEN %(state)s <> 'due' THEN now() END
 WHERE job_id = %(job_id)s AND epoch = %(epoch)s AND state = 'due'
RETURNING job_id
