"""Every number of the paper and of the released code, each with its source. No logic.

Paper: H. Zhang, D. Xu, G. Luo, K. He, "Learning multi-level representations for affective image recognition", Neural
Computing and Applications 34:14107-14120, 2022, doi 10.1007/s00521-022-07139-y. "Released" is the authors' public code.
"""

# Network (released model/train.py).
BACKBONE = "resnet50_v2"
# All v2 networks of the Gluon model zoo, which the released one is taken from.
BACKBONES = ("resnet18_v2", "resnet34_v2", "resnet50_v2", "resnet101_v2", "resnet152_v2")
# Ours: a ResNet-18 v2 with fewer channels (stem, stages 1 to 4), for what has to be small; there are no ImageNet weights for it.
SLIM_BACKBONE = "resnet18_v2_slim"
SLIM_CHANNELS = (32, 32, 48, 96, 160)
TAPS = ("stem", "pool", "stage1")
# What the widths 64, 256 and 512 suggest was meant, as they are these maps' channels in ResNet-50; inferred, not released.
TAPS_BY_WIDTH = ("stem", "stage1", "stage2")
BRANCH_WIDTHS = (64, 256, 512)
STYLE_WIDTH = 2048
STYLE_DROPOUT = 0.8
BATCH_NORM_EPSILON = 2e-5
BATCH_NORM_MOMENTUM = 0.9

# Loss (released model/utils.py, AugFocalLoss, and the class weights written out in model/train.py).
FOCAL_GAMMA = 1.0
FI_CLASS_WEIGHTS = {
    "amusement": 0.053, "anger": 0.211, "awe": 0.086, "contentment": 0.049,
    "disgust": 0.158, "excitement": 0.092, "fear": 0.258, "sadness": 0.094,
}

# Training (released model/train.py).
BATCH_SIZE = 16
EPOCHS = 60
LEARNING_RATE = 1e-4
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
LEARNING_RATE_FACTOR = 0.5
LEARNING_RATE_EPOCHS = (10, 20, 30, 40, 50)  # counted from 0

# Transforms (released model/train.py); mean and deviation are ImageNet's, RGB, of pixels in [0, 1].
RESIZE = 256
IMAGE_SIZE = 224
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
COLOR_JITTER = 0.4
LIGHTING = 0.1
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

# Images per emotion in FI (You et al., AAAI 2016), as recalled from the literature: the sum, 23,308, is the published total.
FI_COUNTS = {
    "amusement": 4942, "anger": 1266, "awe": 3151, "contentment": 5374,
    "disgust": 1658, "excitement": 2963, "fear": 1032, "sadness": 2922,
}
