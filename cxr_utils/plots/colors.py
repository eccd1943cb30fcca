"""The colors of all charts and images: one color for each meaning."""

# The palette of Okabe and Ito, which is safe for color-blind readers. A color has the same meaning in all notebooks.
LABEL_COLOR = "#4d4d4d"
BASELINE_COLOR = "#e69f00"
PRETRAINED_COLOR = "#0072b2"
# Results on patients not in the development set.
NEW_PATIENTS_COLOR = "#009e73"
# For a part of the labels, or for a curve in the background.
LABEL_COLOR_LIGHT = "#b3b3b3"
# Ordered groups of images that do not belong to a model. They differ in lightness.
GROUP_COLORS = ["#e3bcd4", "#b5679a", "#6a2a58"]
# Also from the palette of Okabe and Ito. It differs from the colors of a heat map, also for color-blind readers.
BOX_COLOR = "#56b4e9"
