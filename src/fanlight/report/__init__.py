"""Reports: one HTML file each, with nothing beside it, that shows how good a network is or which is better."""

from fanlight.report.comparison import write_comparison
from fanlight.report.evaluation import write_report
from fanlight.report.figures import percent
from fanlight.report.findings import write_findings

__all__ = ["percent", "write_comparison", "write_findings", "write_report"]
