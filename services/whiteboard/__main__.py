import sys

from services.runtime.process import main
from services.whiteboard.service import serve

sys.exit(main(serve, "whiteboard"))
