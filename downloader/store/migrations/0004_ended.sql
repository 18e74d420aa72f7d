-- For counting ended jobs by how they ended, without a look at the table. By the time of the end, which no other
-- statement asks for: were it by status, a standing artifact might be looked for in here instead of by its key.
CREATE INDEX downloader_jobs_ended ON downloader_jobs (status, error_code) WHERE finished_at IS NOT NULL;
