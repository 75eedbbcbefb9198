"""Every figure as PDF and PNG, from the rows, the diagnosis and a few images of each domain."""

from sap.plan.last import last_stage
from sap.report.catalogue import files

STAGE = last_stage("figures", tuple(files()["figures"]))
