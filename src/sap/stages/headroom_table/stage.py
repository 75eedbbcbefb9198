"""Is there room for any method above zero-shot? Made, and printed, before any sweep."""

from sap.plan.last import last_stage
from sap.report.catalogue import files_of

STAGE = last_stage("headroom_table", files_of("headroom_table"), beside="tables")
