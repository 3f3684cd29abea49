"""Images and their objects on the way to a model: views of photos, copy-paste, the order of training, datamodules."""
