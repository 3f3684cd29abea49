"""Images and objects for models: transforms, copy-paste, augmentation, training order, datamodules."""

from cutler_pl.data.augmentation import BatchAugmentation
from cutler_pl.data.copy_paste import CopyPasteParams
from cutler_pl.data.eval_datamodule import EvalDataModule
from cutler_pl.data.image_datamodule import ImageMeta
from cutler_pl.data.loader import LoaderParams
from cutler_pl.data.predict_datamodule import PredictDataModule
from cutler_pl.data.train_datamodule import TrainDataModule
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import TrainTransformParams

__all__ = [
    "BatchAugmentation",
    "CopyPasteParams",
    "EvalDataModule",
    "ImageMeta",
    "LoaderParams",
    "PredictDataModule",
    "TrainDataModule",
    "TrainTransformParams",
    "TrainingSet",
]
