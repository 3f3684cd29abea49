"""An HTTP API of a detector and of MaskCut."""

from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.api import CutLER, MaskCut
from cutler_pl.api.device import choose_device
from cutler_pl.commands.chosen_features import chosen_features
from cutler_pl.commands.settings import require
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.runtime.imports import require as require_package
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_INFERENCE = ("score_threshold", "nms_threshold", "max_detections", "min_size_test", "max_size_test")


def run(cfg: DictConfig) -> None:
    """Serve as `conf/serve.yaml` describes, until a signal comes.

    Raises:
        ConfigError: A setting cannot work, or the address is taken.
        CheckpointError: The weights cannot be had or read.
        OptionalDependencyError: A package of the extra `web` is missing.
        StoppedBySignal: A signal came; running requests are answered.
    """
    require(cfg, "checkpoint")
    for package in ("fastapi", "uvicorn", "python_multipart"):
        require_package(package, extra="web", purpose="cutler serve")
    from cutler_pl.web.api import (  # after the packages are known to be there
        Cutting,
        Detection,
        build_app,
        listen,
        serve,
    )
    from cutler_pl.web.api.options import ServerOptions
    from cutler_pl.web.api.server import address

    options = ServerOptions(**{field.name: cfg[field.name] for field in fields(ServerOptions)})
    device = choose_device(cfg.device)
    with listen(cfg.host, cfg.port) as bound:
        given = {name: cfg[name] for name in _INFERENCE if cfg[name] is not None}
        detector = CutLER.from_pretrained(cfg.checkpoint, device=device, **given)
        maskcut = MaskCut.from_features(
            chosen_features(cfg, device=device),
            name=cfg.maskcut.features.name,
            params=MaskCutParams(**{field.name: cfg.maskcut[field.name] for field in fields(MaskCutParams)}),
            fixed_size=cfg.maskcut.fixed_size,
            solver=cfg.maskcut.solver,
            device=device,
        )
        endpoints = [Detection(detector, model=shown_name(str(cfg.checkpoint))), Cutting(maskcut)]
        for endpoint in endpoints:
            endpoint.warm_up()
        app = build_app(endpoints, options)
        log.info(
            "%s: POST /predict by %s, POST /maskcut by %s, on %s", address(bound), *(e.model for e in endpoints), device
        )
        log.info("%s/docs shows how; Ctrl-C ends", address(bound))
        serve(app, bound, timeout=options.timeout)


def shown_name(checkpoint: str) -> str:
    """What answers call a checkpoint: no folder of this machine."""
    is_place = "://" in checkpoint or Path(checkpoint).is_file()
    return Path(checkpoint).stem if is_place else checkpoint
