"""`recipe=cutler` as small as it gets: generated scenes, a tiny detector, few steps."""

from pathlib import Path

from cutler_pl.datasets.scenes import SceneParams, write_scenes

_MODEL = (
    "model.detector.backbone: timm/test_resnet", "model.detector.fpn_channels: 16", "model.detector.box_head_dim: 16",
    "model.detector.mask_head_channels: 8", "model.detector.mask_head_convs: 1", "data.train_sizes: [48]",
    "data.max_size: 64", "data.batch_size: 2", "data.num_workers: 0", "callbacks.precise_bn.num_batches: 1",
    "callbacks.checkpoint.every_n_steps: 1", "callbacks.checkpoint.save_top_k: null", "trainer.log_every_n_steps: 1",
)  # fmt: skip


def write_data(folder: Path, images: int = 6) -> None:
    write_scenes(folder / "set" / "images", images, SceneParams(height=48, width=64), seed=0)


def words(folder: Path, *, steps: int = 2, more: str = "") -> list[str]:
    """Settings of the command `recipe`; the output is `<folder>/out`."""
    train = ", ".join((*_MODEL, f"trainer.max_steps: {steps}"))
    truth = f"annotations: '{folder}/set/annotations.json', images: '{folder}/set/images'"
    return [
        "recipe=cutler", f"recipe.output={folder}/out", f"recipe.images={folder}/set/images", "recipe.trainer=cpu",
        "maskcut=patch_descriptors", "maskcut.fixed_size=64", "recipe.thresholds=[0.02,0.01]",
        "recipe.experiment=quickstart", "recipe.experiment_rounds=quickstart_self_train", "recipe.eval=agnostic",
        f"recipe.train={{{train}}}", f"recipe.train_rounds={{{train}}}",
        "recipe.self_train={keep_score: 0, num_workers: 0}",
        f"recipe.evaluate={{{truth}, num_workers: 0, num_examples: 1{more}}}",
    ]  # fmt: skip
