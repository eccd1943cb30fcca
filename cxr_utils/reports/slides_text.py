"""Text of the slides that does not depend on the run: tables, sentences, and what the presenter says."""

USES = {
    "Intended for": [
        "research and teaching",
        "ordering images by urgency (not evaluated)",
        "frontal images (PA, AP) of adults",
    ],
    "Not intended for": [
        "making a diagnosis",
        "decisions without a physician",
        "children, lateral views, other images",
    ],
}
# PPV and sensitivity of NIH's labels, by radiologist-adjudicated reference labels (Majkowska et al., Radiology 2020).
LABEL_QUALITY = {
    "Finding": ["pneumothorax", "nodule or mass"],
    "PPV of NIH's label": ["48.5 %", "56.5 %"],
    "Sensitivity of NIH's label": ["49.7 %", "45.4 %"],
}
SENTENCES = {
    "use": "A physician still reads every image. The effect of a changed order was not evaluated.",
    "labels": "A program extracted NIH's labels from reports. Compared with radiologist-adjudicated labels "
    "(Majkowska 2020), 36 % of the NIH images labeled “No Finding” had at least one of four findings.",
    "method": "The epoch with the highest mean AUROC on the validation images is kept. The test images are used "
    "once, at the end.",
    "layers": "Each row is a block of layers: the six feature maps that vary most. Bright means a strong response. "
    "In deeper blocks, a point covers a larger region, at lower resolution.",
    "published": "Results are comparable only on the same split of the same images.",
    "limits_of_phantom": "The images are synthetic (phantom): no result applies to patients.\n",
    "limits_of_nih": "NIH's labels contain errors, and all NIH images are from one hospital.\n",
    "limits": "Intervals reflect the sample of patients, not the training: another seed gives another model.\nHeat "
    "maps show regions that raised a prediction, not the disease.",
}
NOTES = {
    "question": "Where there are few radiologists, images wait to be read. We ask whether a model can move the "
    "images that most likely show one of 14 findings to the top of the list. All results are from this run, unless a "
    "source is named.",
    "use": "This is a pre-diagnosis aid. The models have not been tested in a clinic. They were trained on few "
    "children and on frontal images.",
    "images": "The chart shows all downloaded images; the split can leave out some. Most images do not have a given "
    "finding. A model that never reports it would have a high accuracy, so we report the AUROC instead.",
    "labels": "A program extracted NIH's labels from radiology reports; it did not use the images. Results on NIH's "
    "images rest on such labels. Label errors can bias the measured performance in either direction.",
    "split": "Training and validation set together are the development set. The bars show how frequent each finding "
    "is in each set. A model may recognize a patient whom it was trained on instead of the finding.",
    "method": "Each model predicts 14 probabilities, one for each finding. After each epoch, the mean AUROC on the "
    "validation images is computed.",
    "layers": "These are feature maps of one image. The first block shows fine detail, the last one summarizes "
    "larger regions. The figure is an illustration: the medical meaning of a feature map is not known.",
    "roc": "Each ROC curve shows the sensitivity against the false-positive rate at every threshold. An AUROC of 0.5 "
    "is chance, 1 is perfect. In parentheses are 95 percent confidence intervals.",
    "prevalence": "The gray bars show the observed prevalence in the test images, the colored bars the mean "
    "predicted risk of each model. Equal bars do not mean that images are ranked correctly: a model that predicts "
    "the same probability for every image could have equal bars.",
    "auroc": "The AUROC is the probability that an image with the finding gets a higher prediction than one "
    "without it. Checking whether two intervals overlap is not a test of the difference.",
    "difference": "Both models are evaluated on the same bootstrap resamples of patients, so a difficult resample "
    "affects both. The intervals of single findings are not corrected for multiple comparisons: without any true "
    "difference, about one in twenty would exclude 0.",
    "errors": "An image is flagged for a finding if its probability reaches a threshold, which was chosen on "
    "validation images. Errors are counted per 1,000 images, per finding. A false positive costs a second look; a "
    "false negative can cost more.",
    "calibration": "Of the images with a prediction of 30 percent, do 30 percent have the finding? Then the dots are "
    "on the dotted line. In all dots of a curve, the same number of images with the finding is expected. Platt "
    "calibration was fitted on validation images. It keeps the order of the images.",
    "subgroups": "Does the model make more errors for some patients? The false-negative rate is the share of "
    "findings that are not flagged. Checking whether two intervals overlap is not a test of the difference, and "
    "overlap does not show that groups are alike.",
    "heat_maps": "The boxes mark the findings, the colors regions that raised the prediction. Shown is the first "
    "image of each finding. An input-independent baseline ignores the image. A heat map on the finding does not show "
    "that the prediction is right.",
    "published": "How does this compare with published results? The test images differ between splits, and with a "
    "split by image, test patients can be in the development set.",
    "limits": "These limits apply to every result in this talk. Another hospital has other images, and a heat map "
    "does not prove that a model is right.",
    "next": "What should come next? Nobody should rely on the models before that.",
}
