"""Last of all: status 1 where rows failed, with their sentences. They are handed back, to be tried by the next run."""

from sap.plan.last import last_stage
from sap.report.catalogue import COMPLETE

STAGE = last_stage("complete", (COMPLETE,), beside="tables")
