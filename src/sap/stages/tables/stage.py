"""Every table as CSV, Markdown, LaTeX and HTML, and the summary, from the rows. Without torch, weights or images."""

from sap.plan.last import last_stage
from sap.report.catalogue import files

STAGE = last_stage("tables", tuple(files()["tables"]))
