"""Images and their objects on the way to a model: views of photos, copy-paste, the order of training, datamodules."""

from cutler_pl.data.copy_paste import CopyPasteParams
from cutler_pl.data.eval_datamodule import EvalDataModule
from cutler_pl.data.image_datamodule import ImageMeta
from cutler_pl.data.predict_datamodule import PredictDataModule
from cutler_pl.data.train_datamodule import TrainDataModule

__all__ = ["CopyPasteParams", "EvalDataModule", "ImageMeta", "PredictDataModule", "TrainDataModule"]
