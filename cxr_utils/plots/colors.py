"""One color for one thing, in all charts and images."""

# Okabe & Ito's palette, safe for color-blind eyes: the same color for the same thing in all notebooks.
LABEL_COLOR = "#4d4d4d"
BASELINE_COLOR = "#e69f00"
PRETRAINED_COLOR = "#0072b2"
NEW_PATIENTS_COLOR = "#009e73"
# Where only a part of the diagnoses is meant.
LABEL_COLOR_LIGHT = "#b3b3b3"
# Parts of the images that are no model's: told apart by how dark they are, in an order.
GROUP_COLORS = ["#e3bcd4", "#b5679a", "#6a2a58"]
# Of Okabe & Ito's palette: not in the heat's colors, and apart from them for color-blind eyes.
BOX_COLOR = "#56b4e9"
