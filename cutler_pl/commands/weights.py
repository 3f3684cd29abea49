"""The packaged and released weights: which there are, which are here, and fetching one."""

from omegaconf import DictConfig

from cutler_pl.commands.console import print_table
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.sources import PACKAGED, RELEASED, cached_file, locate_weights

log = get_logger(__name__)


def run(cfg: DictConfig) -> None:
    """List the packaged and released weights, or fetch `cfg.download`.

    Raises:
        CheckpointError: There is no such name, or it cannot be fetched.
    """
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
