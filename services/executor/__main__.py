import sys

from services.executor.service import serve
from services.runtime.process import main

sys.exit(main(serve, "executor"))
