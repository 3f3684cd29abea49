"""What a detector is shown: images and videos by name, frames of videos and cameras; and videos written."""
