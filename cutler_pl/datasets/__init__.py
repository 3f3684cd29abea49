"""The datasets of the recipe: catalogue, converters, downloads, splits and generated scenes."""
