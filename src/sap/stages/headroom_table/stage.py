"""Is there room for any method above zero-shot? Made, and printed, before any sweep."""

from sap.plan.last import last_stage
from sap.report.catalogue import files

STAGE = last_stage("headroom_table", tuple(files()["headroom_table"]), beside="tables")
