"""Every table as CSV, Markdown, LaTeX and HTML, and the summary, from the rows. Without torch, weights or images."""

from sap.plan.last import last_stage
from sap.report.catalogue import files_of

STAGE = last_stage("tables", files_of("tables"))
