"""Celery's settings, the same for the side that sends and the side that works.

Celery is the door-bell, the job record is the truth. Messages are acknowledged early and never redelivered on purpose: with late
acknowledgement a restart of Redis ran healthy jobs twice, or lost them; with a visibility timeout shorter than a job one
job was started five times. A message that is lost is sent again by the reaper; one too many fails its claim.
"""

from __future__ import annotations

import json
from typing import Any

from services.adapters.settings import Settings
from services.contract.tasks import RECONSTRUCT_QUEUE

HARD_LIMIT_AFTER_S = 30.0  # between the signal to stop and the kill


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Build Celery's configuration."""
    limit = settings.job_time_limit_s
    return {
        "broker_url": settings.redis_url,
        "broker_transport_options": {
            "visibility_timeout": limit + 600,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "health_check_interval": 25,
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
            "retry_on_timeout": True,
            "global_keyprefix": settings.key_prefix,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_ignore_result": True,
        "task_default_queue": RECONSTRUCT_QUEUE,
        "task_time_limit": limit,
        "task_soft_time_limit": max(limit - HARD_LIMIT_AFTER_S, limit / 2),
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_pool": "prefork",
        "worker_pool_start_method": "spawn",  # safe with CUDA; a fork of a process that holds a device is not
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_max_tasks_per_child": settings.max_jobs_per_child,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "worker_lost_wait": 0.2,  # results of a dead child are not waited for; the record is the truth
        "worker_proc_alive_timeout": 60.0,  # a fresh interpreter on a busy machine
    }


def job_of_message(message: str) -> str | None:
    """Read the job's id out of a message as it lies in the queue; None when it is not one of ours."""
    try:
        return str(json.loads(message)["headers"]["id"]).partition(".")[0]
    except (ValueError, KeyError, TypeError):
        return None
