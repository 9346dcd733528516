"""Every number of the paper and of the released code, each with its source. No logic.

Paper: H. Zhang, D. Xu, G. Luo, K. He, "Learning multi-level representations for affective image
recognition", Neural Computing and Applications 34:14107-14120, 2022, doi
10.1007/s00521-022-07139-y. "Released" is the authors' public code.
"""

# Network (released model/train.py).
BACKBONE = "resnet50_v2"
# Ours: a ResNet-18 v2 with fewer channels (stem, stages 1 to 4), for small runs such as the demo's.
# There are no ImageNet weights for it.
SLIM_BACKBONE = "resnet18_v2_slim"
SLIM_CHANNELS = (32, 32, 48, 96, 160)
TAPS = ("stem", "pool", "stage1")
# The maps that the authors may have meant: their channels in ResNet-50 are the branch widths 64,
# 256 and 512. Inferred, not released.
TAPS_BY_WIDTH = ("stem", "stage1", "stage2")
BRANCH_WIDTHS = (64, 256, 512)
STYLE_WIDTH = 2048
STYLE_DROPOUT = 0.8
BATCH_NORM_EPSILON = 2e-5
BATCH_NORM_MOMENTUM = 0.9

# The slim AlexNet and VGG-16 are ours as well: the same layers, with the number of channels divided
# by NARROW.
NARROW = 4

# Loss (released model/utils.py, AugFocalLoss, and the class weights written out in model/train.py).
FOCAL_GAMMA = 1.0
FI_CLASS_WEIGHTS = {
    "amusement": 0.053,
    "anger": 0.211,
    "awe": 0.086,
    "contentment": 0.049,
    "disgust": 0.158,
    "excitement": 0.092,
    "fear": 0.258,
    "sadness": 0.094,
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

# Images of each emotion in FI (You et al., AAAI 2016), recalled from the literature and not
# re-read; their sum, 23,308, is the published total.
FI_COUNTS = {
    "amusement": 4942,
    "anger": 1266,
    "awe": 3151,
    "contentment": 5374,
    "disgust": 1658,
    "excitement": 2963,
    "fear": 1032,
    "sadness": 2922,
}

# The results table: accuracy on FI in %, from the README of the released code. That it is for two
# sentiments is inferred.
PUBLISHED = {
    "alexnet": 72.43,
    "vgg16": 83.05,
    "resnet50": 85.06,
    "pcnn": 75.34,
    "deepsentibank": 61.54,
    "ar": 86.35,
    "l_cil": 87.87,
}

# Solver of the VGG-16 of AR (released prototxt of AR_discovery): SGD; 20,000 steps of 32 images;
# learning rate 1e-4, divided by ten every 4,000 steps, and ten times as high in the last layer.
# With FI's 18,176 training images 4,000 steps are 7 epochs.
AR_SOLVER = {
    "batch_size": 32,
    "epochs": 35,
    "learning_rate": 1e-4,
    "weight_decay": 5e-4,
    "new_layers_rate": 10.0,
}
AR_DECAY, AR_DECAY_EPOCHS = 0.1, 7

# PCNN (You et al., AAAI 2015), recalled, not re-read: about 300,000 steps on all images, then
# 100,000 on the kept images.
PCNN_FINE_TUNING = 1 / 3

# Affective regions (AR: Yang, She, Sun, Cheng, Rosin, Wang, IEEE Transactions on Multimedia
# 20:2513-2525, 2018; released code/demo.m, clu_ncut.m and extract_boxfeature.m of AR_discovery).
# Sides are in pixels of the original image. at most, for each image (the released
# fi_c2_objectness_max2000.mat)
AR_PROPOSALS = 2000
AR_ASPECT = 6  # highest ratio of the longer to the shorter side
AR_SIDES = (28, 500)
AR_CANDIDATES = 20
AR_REPLICATES = 10  # repetitions of k-means
AR_CONTEXT = 16  # border, in pixels of the scaled crop
AR_ALPHA = 0.6  # weight of objectness, against sentiment
AR_TOP = 8
AR_BETA = 0.3  # weight of the regions, against the whole image

# Edge Boxes (Zitnick, Dollar, ECCV 2014): values from OpenCV's documentation of createEdgeBoxes.
EDGE_BOXES = {
    "alpha": 0.65,
    "beta": 0.75,
    "eta": 1,
    "minScore": 0.01,
    "maxBoxes": 10000,
    "edgeMinMag": 0.1,
    "edgeMergeThr": 0.5,
    "clusterMinMag": 0.5,
    "maxAspectRatio": 3,
    "minBoxArea": 1000,
    "gamma": 2,
    "kappa": 1.5,
}

# DeepSentiBank (Chen, Borth, Darrell, Chang, arXiv 1410.8586, 2014): a CaffeNet; layers, sizes and
# concepts from the sentibank.prototxt of ColumbiaDVMM's ColumbiaImageSearch, which subtracts a mean
# image. The mean of each channel (B, G, R, of pixels in 0 to 255) is ImageNet's, from the released
# prototxt of AR_discovery; that it can replace the mean image is inferred. LRN's constant of 1 is
# Caffe's default, recalled.
SENTIBANK_CONCEPTS = 2089  # adjective noun pairs, the outputs of fc8-t
CAFFE_RESIZE, CAFFE_SIZE = 256, 227
CAFFE_MEAN = (104, 117, 123)
CAFFE_LRN = {"nsize": 5, "alpha": 1e-4, "beta": 0.75, "knorm": 1}
CAFFE_DROPOUT = 0.5
