"""A page in the browser to try MaskCut and a detector."""

from dataclasses import fields

from omegaconf import DictConfig

from cutler_pl.commands.settings import require as require_settings
from cutler_pl.runtime.imports import require
from cutler_pl.web.demo.options import DemoOptions


def run(cfg: DictConfig) -> None:
    """Serve the page as `conf/demo.yaml` describes, until Ctrl-C.

    Raises:
        OptionalDependencyError: The extra `web` is not installed.
        ConfigError: The address cannot be listened at, or there is no such device or backbone.
        CheckpointError: Weights cannot be had.
        StoppedBySignal: The process was told to end.
    """
    require_settings(cfg, "checkpoint")
    for module in ("uvicorn", "fastapi", "multipart"):
        require(module, extra="web", purpose="cutler demo")
    from cutler_pl.web.demo.server import serve_demo  # of the extra

    options = DemoOptions(**{field.name: cfg[field.name] for field in fields(DemoOptions)})
    backbones = None if cfg.backbones is None else list(cfg.backbones)
    serve_demo(str(cfg.checkpoint), options, backbones=backbones, device=cfg.device)
