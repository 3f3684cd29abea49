"""CutLER on PyTorch Lightning: unsupervised object detection and instance segmentation.

Pure functions at the bottom, COCO JSON files between the stages, Lightning near the top, Hydra only at the edge.
Paper: Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", CVPR 2023.
"""
