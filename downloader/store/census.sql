-- What is counted over all jobs.

-- name: census
-- One row a figure: what it is of, up to two labels, how many. Every part has an index, and none reads ended steps,
-- which are many.
SELECT 'jobs' AS what, status AS label, '' AS code, count(*) AS n
  FROM downloader_jobs WHERE status IN ('queued', 'running') GROUP BY status
UNION ALL
SELECT 'jobs', status, coalesce(error_code, ''), count(*)
  FROM downloader_jobs WHERE finished_at IS NOT NULL GROUP BY status, error_code
UNION ALL
SELECT 'waiting', s.stage, '', count(*)
  FROM downloader_jobs j JOIN downloader_steps s ON s.job_id = j.id
 WHERE j.status IN ('queued', 'running') AND s.state = 'waiting' GROUP BY s.stage
UNION ALL
SELECT 'reserved', '', '', coalesce(sum(bytes), 0)::bigint FROM downloader_reservations
UNION ALL
SELECT 'callbacks', '', '', count(*) FROM downloader_callbacks WHERE state = 'due'
