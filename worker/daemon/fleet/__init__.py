"""The worker of a fleet: it reconciles the due accounts of its lanes."""

from worker.daemon.fleet.admission import Admission
from worker.daemon.fleet.worker import FleetEvents, FleetWorker

__all__ = ["Admission", "FleetEvents", "FleetWorker"]
