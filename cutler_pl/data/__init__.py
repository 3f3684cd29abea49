"""Images and objects for models: transforms, copy-paste, augmentation, training order, datamodules."""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.data.augmentation import BatchAugmentation
    from cutler_pl.data.copy_paste import CopyPasteParams
    from cutler_pl.data.eval_datamodule import EvalDataModule
    from cutler_pl.data.image_datamodule import ImageMeta
    from cutler_pl.data.loader import LoaderParams
    from cutler_pl.data.predict_datamodule import PredictDataModule
    from cutler_pl.data.strong_view import StrongView
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
    "StrongView",
    "TrainDataModule",
    "TrainTransformParams",
    "TrainingSet",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "cutler_pl.data.augmentation": "BatchAugmentation",
        "cutler_pl.data.copy_paste": "CopyPasteParams",
        "cutler_pl.data.eval_datamodule": "EvalDataModule",
        "cutler_pl.data.image_datamodule": "ImageMeta",
        "cutler_pl.data.loader": "LoaderParams",
        "cutler_pl.data.predict_datamodule": "PredictDataModule",
        "cutler_pl.data.strong_view": "StrongView",
        "cutler_pl.data.train_datamodule": "TrainDataModule",
        "cutler_pl.data.training_set": "TrainingSet",
        "cutler_pl.data.transforms": "TrainTransformParams",
    },
)
