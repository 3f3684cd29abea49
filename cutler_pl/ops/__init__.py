"""Pure tensor maths on boxes and masks, on any device, with no knowledge of models or files."""
