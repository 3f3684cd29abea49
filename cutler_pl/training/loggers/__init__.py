"""Trackers through Lightning's loggers, for runs that may be offline, killed and resumed; several at once are fine."""

from cutler_pl.training.loggers.csv_file import WholeCSVLogger
from cutler_pl.training.loggers.mlflow import mlflow_logger
from cutler_pl.training.loggers.tensorboard import tensorboard_logger
from cutler_pl.training.loggers.tracker import Table, Tracker, start_loggers, trackers
from cutler_pl.training.loggers.wandb import wandb_logger

__all__ = [
    "Table",
    "Tracker",
    "WholeCSVLogger",
    "mlflow_logger",
    "start_loggers",
    "tensorboard_logger",
    "trackers",
    "wandb_logger",
]
