"""The model card of a detector, written from what its run recorded."""

from cutler_pl.api.model_card.card import CardOptions, Described, write_card

__all__ = ["CardOptions", "Described", "write_card"]
