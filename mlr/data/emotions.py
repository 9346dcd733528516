"""The emotion categories of the field and their binary sentiment."""

# Mikels et al., "Emotional category data on images from the IAPS", Behavior Research Methods
# 37:626-630, 2005.
MIKELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
# Ekman, "An argument for basic emotions", Cognition and Emotion 6:169-200, 1992.
EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise")

SENTIMENTS = ("negative", "positive")
POSITIVE = frozenset(("amusement", "awe", "contentment", "excitement", "joy", "surprise"))

# Other forms of the names that data sets use on disk: short names, adjectives, plurals.
FORMS = {
    form: name
    for name, forms in {
        "amusement": "amuse amused amusing amusements",
        "anger": "angry angers angered",
        "awe": "awed awes awesome",
        "contentment": "content contented contentments",
        "disgust": "disgusted disgusting disgusts",
        "excitement": "excit excite excited exciting excitements",
        "fear": "fearful fears feared afraid scared",
        "sadness": "sad saddened",
        "joy": "joyful joyous joys happiness happy",
        "surprise": "surprised surprising surprises",
        "negative": "neg negatives",
        "positive": "pos positives",
    }.items()
    for form in (name, *forms.split())
}


def emotion_named(text: str) -> str:
    """Return the emotion, of Mikels or Ekman, that a folder or a label names in any case and form;
    "" if it names none.
    """
    name = FORMS.get(text.strip().lower(), "")
    return "" if name in SENTIMENTS else name


def sentiment_of(text: str) -> str:
    """Return "positive" or "negative" for one of Mikels' eight or Ekman's six emotions, or for the
    name of a sentiment, in any case and form; "" for any other text.

    The mapping is that of the FI and EmotionROI protocols (Yang et al., IEEE TMM 20:2513-2525,
    2018).
    """
    name = FORMS.get(text.strip().lower(), "")
    if not name or name in SENTIMENTS:
        return name
    return "positive" if name in POSITIVE else "negative"
