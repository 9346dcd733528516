"""The emotion categories of the field and their binary sentiment."""

# Mikels et al., "Emotional category data on images from the IAPS", Behavior Research Methods 37:626-630, 2005.
MIKELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
# Ekman, "An argument for basic emotions", Cognition and Emotion 6:169-200, 1992.
EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise")

# Short names that the data sets use on disk.
SHORT_NAMES = {
    "amuse": "amusement", "content": "contentment", "excit": "excitement", "excite": "excitement", "sad": "sadness", "happiness": "joy"}

SENTIMENTS = ("negative", "positive")
POSITIVE = frozenset(("amusement", "awe", "contentment", "excitement", "joy", "surprise"))


def emotion_named(text):
    """Return Mikels' or Ekman's emotion that a folder or a label names, in any case or shortened, or "" for none."""
    name = text.strip().lower()
    name = SHORT_NAMES.get(name, name)
    return name if name in MIKELS or name in EKMAN else ""


def sentiment_of(emotion):
    """Return "positive" or "negative" for one of Mikels' eight or Ekman's six emotions.

    The mapping is that of the FI and EmotionROI protocols (Yang et al., IEEE TMM 20:2513-2525, 2018); for any other
    name it is "".
    """
    if emotion in POSITIVE:
        return "positive"
    if emotion in MIKELS or emotion in EKMAN:
        return "negative"
    return ""
