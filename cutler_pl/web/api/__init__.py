"""The HTTP API: detections and MaskCut masks of uploaded images as JSON."""

from cutler_pl.web.api.app import build_app
from cutler_pl.web.api.endpoints import Cutting, Detection
from cutler_pl.web.api.options import ServerOptions
from cutler_pl.web.api.server import listen, serve

__all__ = ["Cutting", "Detection", "ServerOptions", "build_app", "listen", "serve"]
