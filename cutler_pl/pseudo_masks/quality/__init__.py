"""Whether MaskCut works on a set of images: figures of its masks and images, and a verdict; no ground truth."""
