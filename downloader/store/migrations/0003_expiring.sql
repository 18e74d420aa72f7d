-- Only what has an end, so that nothing looks for a standing artifact by its key in here.
DROP INDEX downloader_jobs_expiring;
CREATE INDEX downloader_jobs_expiring ON downloader_jobs (artifact_expires_at)
 WHERE status = 'done' AND artifact <> '' AND artifact_expires_at IS NOT NULL;
