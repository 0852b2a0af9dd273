import sys

from services.orchestrator.service import serve
from services.runtime.process import main

sys.exit(main(serve, "orchestrator"))
