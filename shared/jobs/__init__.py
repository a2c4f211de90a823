"""Work that outlives a request: jobs that any number of processes share and none does twice.

A job is a row in a table of the service's own schema; the row says all that is true of it. PgQueuer
brings word of it to a worker, which raises the row's fence, keeps a lease on it, and proves the
fence in every transaction that writes what the work has brought. A worker that was killed loses its
lease and the job goes to another; one that was only paused finds that its effects are refused.

A service needs five things.

The table, with columns of its own beside those of a job::

    class AnalysisRow(JobColumns, Base):
        __tablename__ = "analyses"
        label: Mapped[str] = mapped_column(Text)
        __table_args__ = (*job_indexes("analyses"), {"schema": "netra"})

    ANALYSES = JobQueue(AnalysisRow)

Its migration, which puts PgQueuer's tables into the same schema (`shared.jobs.schema`)::

    def upgrade() -> None:
        create_job_table("analyses", sa.Column("label", sa.Text, nullable=False), schema="netra")
        install_delivery("netra")

Adding a job, in the transaction of the request; the word to the workers leaves with its commit::

    row = AnalysisRow(id=uuid4(), tenant=str(owner), label=label, dedupe_key=None, priority=0)
    await ANALYSES.add(session, row)            # DuplicateJob when the key is that of a live job
    await ANALYSES.cancel(session, row.id)      # Outcome.DONE, ASKED or NOT_NOW; also pause, resume
    await ANALYSES.move_to_front(session, row.id)

A handler, whose effects are transactions that hold only while the job is this worker's::

    class Analyses:
        async def run(self, claim: Claim) -> Mapping[str, Any] | None:
            ...                                  # read the row by claim.job_id, compute
            async with claim.effect() as effect:
                effect.session.add(LesionRow(...))
                await effect.set(gradable=True)  # the service's own columns
                await effect.complete({"referable": 0.2})   # or hold(), fail(), progress()
            return None

        async def on_failed(self, session, job_id, failure) -> None: ...     # refund
        async def on_cancelled(self, session, job_id) -> None: ...           # refund

An effect is short: compute first. A run may be cut at any `await` (cancelled, paused, drained,
lost) and another worker then begins the job again, so what must not be done twice is done in
effects, and long work keeps its place in checkpoints that effects write.

A worker, inside the service's lifespan::

    worker = Worker(ANALYSES, Analyses(...), engine, database_url, concurrency=2)
    await opened.enter_async_context(worker.running())
    app.state.checks["worker"] = worker.check

and as a process of its own: `vedette worker netra` finds by the entry point `vedette.workers` an
asynchronous context manager that takes no argument, opens what the handler needs, and yields the
worker, which the command then runs until SIGTERM. `concurrency=0` in the service leaves the jobs to
such processes.
"""

from shared.jobs.claims import Claim, Effect
from shared.jobs.columns import JobColumns, job_indexes
from shared.jobs.errors import ClaimLost, DuplicateJob, JobFailed, RetryLater
from shared.jobs.handler import Failure, JobHandler, Patience
from shared.jobs.queue import JobQueue
from shared.jobs.states import FINISHED, LIVE, JobStatus, Outcome, Stop
from shared.jobs.worker import Worker

__all__ = [
    "FINISHED",
    "LIVE",
    "Claim",
    "ClaimLost",
    "DuplicateJob",
    "Effect",
    "Failure",
    "JobColumns",
    "JobFailed",
    "JobHandler",
    "JobQueue",
    "JobStatus",
    "Outcome",
    "Patience",
    "RetryLater",
    "Stop",
    "Worker",
    "job_indexes",
]
