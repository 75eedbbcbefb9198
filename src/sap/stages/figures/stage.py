"""Every figure as PDF and PNG, from the rows, the diagnosis and a few images of each domain."""

from sap.plan.last import last_stage
from sap.report.catalogue import files_of

STAGE = last_stage("figures", files_of("figures"))
