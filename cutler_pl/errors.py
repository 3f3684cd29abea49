"""Errors that people can act on.

Each says what was expected, what was found, where, and the way out, in one sentence. Each is a `CutlerError`
and a builtin too, so that callers who know nothing of this package can still catch it by kind.
"""


class CutlerError(Exception):
    """Anything that is wrong with what the user gave, as opposed to a bug in this package."""


class DatasetNotFoundError(CutlerError, FileNotFoundError):
    """A folder, an image list or an annotation file is not where it was looked for."""


class ImageReadError(CutlerError, OSError):
    """A file cannot be read as an image, or the image is outside the accepted sizes."""


class ImageTooLargeError(ImageReadError):
    """An image has more pixels than are decoded."""


class VideoReadError(CutlerError, OSError):
    """A file cannot be read as a video, or a camera gives none."""


class AnnotationError(CutlerError, ValueError):
    """A COCO file, or predictions in COCO form, break the format."""


class ConfigError(CutlerError, ValueError):
    """A setting has a value that cannot work, alone or together with another one."""


class InputError(CutlerError, ValueError):
    """A tensor given to a function has a shape, a type or values it cannot work with."""


class CheckpointError(CutlerError, RuntimeError):
    """Weights cannot be had, cannot be read safely, or do not fit the model."""


class WeightsNotFoundError(CheckpointError, FileNotFoundError):
    """There is no file of weights at a place or of a name, or it cannot be fetched."""


class OptionalDependencyError(CutlerError, ImportError):
    """A feature needs a package of an extra that is not installed."""


class DownloadError(CutlerError, OSError):
    """A file cannot be fetched, or is not the one that was fetched first."""


class UploadError(CutlerError, OSError):
    """Something cannot be published: the server does not take it, or there is no connection."""


class TrackerError(CutlerError, ConnectionError):
    """A tracker of experiments cannot be used: there is no login, no connection, or no such run."""


class TrainingDivergedError(CutlerError, ArithmeticError):
    """The loss was not finite too many times in a row."""


class OutputLockedError(CutlerError, BlockingIOError):
    """Another run is writing to the same output folder."""


class OutputWriteError(CutlerError, OSError):
    """An output file cannot be written: the disk is full, read-only, or belongs to somebody else."""


class TooManyFailuresError(CutlerError, RuntimeError):
    """A long job is finished, but more than the accepted share of its items failed."""


class StageFailedError(CutlerError, RuntimeError):
    """A stage of a recipe has failed in a process of its own, which has said why."""
