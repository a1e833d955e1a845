"""The report of a run in Prefect: its artifact, and the state that the flow run ends in."""

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from prefect_ollama.blocks.errors import DocumentsFailed
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.flows.base import Advanced
from prefect_ollama.flows.ingestion.run import IngestRun
from prefect_ollama.flows.runner import wait_for_server
from prefect_ollama.tasks.reporting import IngestReport, report_markdown, run_chart


def publish_report(run: IngestRun, model: str) -> IngestReport:
    """Publish the run in Prefect, once its server answers, and return the report."""
    report = run.report(model=model)
    # Metrics need no server, so they do not wait for it.
    run.metrics.end(report, run.status)
    wait_for_server()
    run.publish()
    text = report_markdown(report, picture=run_chart(report, run.timeline))
    create_markdown_artifact(
        text, key="ingest-report", description=f"Ingest of {escape_markdown(report.source)}"
    )
    return report


def final_state(report: IngestReport, advanced: Advanced) -> IngestReport:
    """Return the report within the state that the flow run ends in; Prefect gives the caller the report.

    Of a flow run that is tried again it is returned bare, with no message for the state: after a state, Prefect 3.9
    raises the error of the first try although the second went well (`FlowRunEngine.result`).
    """
    again = flow_run.run_count > 1
    if advanced.fail_if_files_fail and report.failed and not report.dry_run:
        error = DocumentsFailed(
            f"{len(report.failed)} of {quantity(len(report.files), 'file is', 'files are')} not stored whole, the "
            f"first: {report.failed[0].path!r}.",
            paths=[file.path for file in report.failed],
            state="All the rest is stored.",
            remedy="The artifact ingest-report says what to do for each.",
        )
        if again:
            raise error
        # A state, so that Prefect shows the summary as its message, and not the text of the error.
        return Failed(message=report.summary, data=error)  # type: ignore[return-value]
    return report if again else Completed(message=report.summary, data=report)  # type: ignore[return-value]
