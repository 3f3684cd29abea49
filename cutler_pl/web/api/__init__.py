"""The HTTP API: detections and MaskCut masks of uploaded images as JSON.

Nothing is imported before it is used: the options are those of a command, and the rest needs the extra `web`.
"""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.web.api.app import build_app
    from cutler_pl.web.api.endpoints import Cutting, Detection, Endpoint
    from cutler_pl.web.api.options import ServerOptions
    from cutler_pl.web.api.server import address, listen, serve

__all__ = ["Cutting", "Detection", "Endpoint", "ServerOptions", "address", "build_app", "listen", "serve"]

__getattr__ = lazy_exports(
    __name__,
    {
        "cutler_pl.web.api.app": "build_app",
        "cutler_pl.web.api.endpoints": "Cutting Detection Endpoint",
        "cutler_pl.web.api.options": "ServerOptions",
        "cutler_pl.web.api.server": "address listen serve",
    },
)
