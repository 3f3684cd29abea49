"""How the annotations of a round are made from predictions."""

from dataclasses import dataclass

from cutler_pl.coco.validation import OnError
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.ranges import Share, check_fields


@dataclass(frozen=True, kw_only=True)
class RoundOptions:
    """Options of a self-training round.

    Attributes:
        threshold: Least score of the predictions that become annotations; the original takes 0.7, then 0.65.
        keep_score: Least score of the predictions that are written.
        on_error: What is done about records that do not fit.

    Raises:
        ConfigError: A value is out of range, or predictions would be missing that the threshold asks for.
    """

    threshold: Share = 0.7
    keep_score: Share = 0.5
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_kept(self.keep_score, f"keep_score={self.keep_score:g}", "lower keep_score, or raise the threshold")

    def check_kept(self, least: float, given: str, way_out: str) -> None:
        """Make sure that predictions written from a score on are all that is asked for.

        Raises:
            ConfigError: They are not.
        """
        if least > self.threshold:
            raise ConfigError(
                f"threshold={self.threshold:g}: there are no predictions below {least:g} ({given}); {way_out}"
            )
