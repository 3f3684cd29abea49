"""An HTTP API of a detector and of MaskCut."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cutler_pl.api import CutLER, MaskCut
from cutler_pl.api.device import choose_device
from cutler_pl.commands.chosen_features import chosen_features
from cutler_pl.commands.settings import require
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.runtime.imports import require as require_package
from cutler_pl.web import api

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
    options = api.ServerOptions(**{field.name: cfg[field.name] for field in fields(api.ServerOptions)})
    device = choose_device(cfg.device)
    with api.listen(cfg.host, cfg.port) as bound:
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
        endpoints: list[api.Endpoint[Any]] = [
            api.Detection(detector, model=shown_name(str(cfg.checkpoint))),
            api.Cutting(maskcut),
        ]
        for endpoint in endpoints:
            endpoint.warm_up()
        app = api.build_app(endpoints, options)
        models = ", ".join(f"POST {endpoint.path} by {endpoint.model}" for endpoint in endpoints)
        ready = f"listening on {api.address(bound)} ({device}): {models}; /docs shows how, Ctrl-C ends"
        api.serve(app, bound, timeout=options.timeout, ready=ready)


def shown_name(checkpoint: str) -> str:
    """What answers call a checkpoint: no folder of this machine."""
    if "://" in checkpoint or Path(checkpoint).exists():
        return Path(checkpoint).resolve().stem
    return checkpoint
