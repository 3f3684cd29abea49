"""Options of a detector that is built and run in milliseconds."""

SMALL = {
    "backbone": "timm/test_resnet",
    "fpn_channels": 16,
    "box_head_dim": 32,
    "mask_head_channels": 8,
    "mask_head_convs": 1,
    "rpn_pre_nms_test": 50,
    "rpn_post_nms_test": 40,
}
