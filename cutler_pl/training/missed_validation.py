"""The validation of a checkpoint's step, run on resume where it was interrupted."""

from typing import Any, cast

import lightning as L


def validation_is_due(trainer: L.Trainer) -> bool:
    """Whether Lightning validates after the step that is ending."""
    loop = trainer.fit_loop
    return loop._data_fetcher is not None and bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def validate_within_training(trainer: L.Trainer) -> None:
    """Run the validation loop as the training loop does, before its first step."""
    if not trainer.enable_validation:
        return
    loop, connector = trainer.fit_loop.epoch_loop.val_loop, trainer._logger_connector
    first = connector._first_loop_iter
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True
    connector._first_loop_iter = first


def validate_finished(trainer: L.Trainer, module: L.LightningModule, content: dict[str, Any], **options: Any) -> None:
    """Validate a finished training, logged at its last step.

    Args:
        content: The checkpoint.
        **options: Of `Trainer.validate`.
    """
    loop = trainer.fit_loop
    loop.load_state_dict(cast(Any, content)["loops"]["fit_loop"])
    loop.restarting = False
    trainer.validate(module, verbose=False, weights_only=True, **options)
