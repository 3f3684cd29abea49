"""The packaged and released weights: which there are, which are here, and fetching one; or publishing a detector."""

from omegaconf import DictConfig

from cutler_pl.api import CutLER
from cutler_pl.commands.console import print_table
from cutler_pl.errors import ConfigError
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.hub import require_hub_id
from cutler_pl.weights.sources import PACKAGED, RELEASED, cached_file, locate_weights

log = get_logger(__name__)


def run(cfg: DictConfig) -> None:
    """List the packaged and released weights, fetch `cfg.download`, or publish `cfg.upload`.

    Raises:
        CheckpointError: There is no such name, or it cannot be fetched or read.
        ConfigError: Neither `repository` nor `output` says where to publish, or the card has no such run.
        UploadError: The hub does not take it.
    """
    if cfg.upload is not None:
        _publish(cfg)
        return
    if cfg.download is not None:
        log.info("%s is at %s", cfg.download, locate_weights(str(cfg.download)))
        return
    rows = [[name, "yes", "in this package"] for name in PACKAGED]
    for name, address in RELEASED.items():
        path = cached_file(address)
        rows.append([name, "yes" if path.is_file() else "no", address])
    folder = cached_file(next(iter(RELEASED.values()))).parent
    notes = [f"Kept in {folder}; files put there by hand are found too. cutler weights download=<name> fetches one."]
    print_table(Table(["name", "here", "address"], rows, notes=notes, text_columns=3))


def _publish(cfg: DictConfig) -> None:
    if cfg.repository is None and cfg.output is None:
        raise ConfigError("upload= needs repository=<owner>/<name> on the hub, output=<folder> to look first, or both")
    if cfg.repository is not None:
        require_hub_id(cfg.repository)
    model = CutLER.from_pretrained(cfg.upload, device="cpu")
    card = {"run": cfg.run, "evaluation": cfg.evaluation, "license": cfg.license}
    if cfg.output is not None:
        folder = model.save_pretrained(cfg.output, **card)
        log.info("weights, config.json and the model card are in %s; read the card before you publish it", folder)
    if cfg.repository is not None:
        log.info("published: %s", model.push_to_hub(cfg.repository, private=cfg.private, **card))
