"""Numbers for Prometheus, in a registry of the application's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What the API counts. Labels are route templates, never ids, so their number is bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "m3r_http_requests_total", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "m3r_http_request_seconds", "Time to answer", ["method", "route"], buckets=_SECONDS, registry=self.registry
        )
        self.accepted = Counter("m3r_jobs_accepted_total", "Jobs accepted", registry=self.registry)
        self.refused = Counter("m3r_submissions_refused_total", "Submissions refused", ["code"], registry=self.registry)
        self.uploaded = Counter("m3r_upload_bytes_total", "Bytes of photographs stored", registry=self.registry)
        self.webhooks = Counter(
            "m3r_webhook_tries_total", "Tries at delivering an event, by what became of it", ["outcome"], registry=self.registry
        )
        self.webhooks_open = Gauge("m3r_webhook_jobs_open", "Jobs with events to deliver", registry=self.registry)
        self.localised = Counter(
            "m3r_localisation_queries_total", "Queries by what became of them", ["outcome"], registry=self.registry
        )
        self.queued = Gauge("m3r_jobs_queued", "Jobs that wait", registry=self.registry)
        self.running = Gauge("m3r_jobs_running", "Jobs that a worker holds", registry=self.registry)
        self.watchers = Gauge("m3r_job_watchers", "Long polls and event streams that wait", registry=self.registry)

    def exposition(self) -> bytes:
        """Write all numbers in Prometheus' text format."""
        return generate_latest(self.registry)
