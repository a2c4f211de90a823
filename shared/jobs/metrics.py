"""What Prometheus is told about jobs, by service."""

from prometheus_client import Counter, Gauge, Histogram

JOBS = Gauge(
    "vedette_jobs", "Jobs that wait, run, or are paused, in the database.", ["service", "status"]
)
OLDEST_WAIT_S = Gauge(
    "vedette_jobs_oldest_wait_seconds", "How long the oldest job that could run waits.", ["service"]
)
WAITED_S = Histogram(
    "vedette_job_wait_seconds",
    "From the moment a job could begin to the moment a worker took it.",
    ["service"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1800, 7200),
)
RUN_S = Histogram(
    "vedette_job_run_seconds",
    "From the claim to the end of the run.",
    ["service"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200),
)
ATTEMPTS = Counter(
    "vedette_job_attempts_total",
    "Runs by how they ended: completed, failed, retried, cancelled, paused, handed-back, lost.",
    ["service", "ended"],
)
DEATHS = Counter(
    "vedette_job_deaths_total", "Jobs whose worker was not heard of in time.", ["service"]
)
