"""Text of the slides that does not depend on the run: tables, sentences, and what the presenter says."""

# Whether the images are those of the phantom → what depends on that: the use with its table, the first limit, and a
# remark on the quality of NIH's labels.
IMAGES = {
    False: {
        "use": "A physician still reads every image. The effect of a changed order was not evaluated.",
        "uses": {
            "Intended for": [
                "research and teaching",
                "ordering images by urgency (not evaluated)",
                "frontal images (PA, AP)",
            ],
            "Not intended for": [
                "making a diagnosis",
                "decisions without a physician",
                "children, lateral views, other images",
            ],
        },
        "limits": "NIH's labels contain errors, and all NIH images are from one hospital.\n",
        "labels": "",
    },
    True: {
        "use": "The models were trained on synthetic images (phantom). They have no clinical use.",
        "uses": {
            "Intended for": ["showing that the pipeline works"],
            "Not intended for": ["any clinical use, on images of any patient"],
        },
        "limits": "The images are synthetic (phantom): no result applies to patients.\n",
        "labels": " The phantom has no such errors.",
    },
}
# PPV and sensitivity of NIH's labels, with 95 % intervals by patient, by the radiologist-adjudicated reference labels
# of the test part (Majkowska et al., Radiology 2020), see `data.ADJUDICATED`.
LABEL_QUALITY = {
    "Finding": ["pneumothorax", "nodule or mass", "airspace opacity"],
    "NIH's label": ["Pneumothorax", "Nodule, Mass", "Consolidation, Infiltration, Edema, Pneumonia"],
    "PPV of NIH's label": ["48.5 % (40–56)", "56.5 % (49–64)", "80.8 % (77–84)"],
    "Sensitivity of NIH's label": ["49.7 % (42–57)", "45.4 % (39–52)", "44.8 % (42–48)"],
}
SENTENCES = {
    "labels": "A program extracted NIH's labels from reports. By radiologist-adjudicated labels (Majkowska 2020), "
    "45.8 % (95 % CI 42–50) of the test part's “No Finding” images have one of four findings, 30.2 % (26–34) of the "
    "validation part's.",
    "method": "The epoch with the highest mean AUROC on the validation images is kept. The test images are used "
    "once, at the end.",
    "layers": "Each row is a block of layers: the six feature maps that vary most. Bright means a strong response. "
    "In deeper blocks, a point covers a larger region, at lower resolution.",
    "per_image": "An image can be flagged for each of 14 findings, so images with a false positive are more frequent "
    "than the false-positive rate of one finding suggests.",
    "published": "Only results on NIH's official split are on the same test images. Random splits differ between "
    "publications.",
    "limits": "Intervals reflect the sample of patients, not the training: another seed gives another model.\nHeat "
    "maps show regions that raised a prediction, not the disease.",
}
NOTES = {
    "question": "Where there are few radiologists, images wait to be read. We ask whether a model can move the "
    "images that most likely show one of 14 findings to the top of the list. All results are from this run, unless a "
    "source is named.",
    "use": "The models have not been tested in a clinic. Of NIH's 112,120 images, 5,402 are of patients under 18: too "
    "few to train for children.",
    "images": "The chart shows all downloaded images; the split can leave out some. Most images do not have a given "
    "finding. A model that never reports it would have a high accuracy, so we report the AUROC instead.",
    "labels": "A program extracted NIH's labels from radiology reports; it did not use the images. Results on NIH's "
    "images rest on such labels. Label errors can bias the measured performance in either direction.",
    "split": "Training and validation set together are the development set. The bars show how frequent each finding "
    "is in each set. New patients of a hospital are in no development set: results on those are the ones to expect.",
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
    "affects both. The margin was set before the comparison. The findings named are Holm-corrected: without any true "
    "difference, one in twenty comparisons would name any. The intervals in the figure are not corrected.",
    "errors": "An image is flagged for a finding if its probability reaches a threshold, which was chosen on "
    "validation images. Errors are counted per 1,000 images, per finding. A false positive costs a second look; a "
    "false negative can cost more.",
    "per_image": "Errors per finding and errors per image answer different questions. A reader of a worklist sees "
    "images. Flagged without need, and not flagged although they show a finding: both are shares of images.",
    "calibration": "Of the images with a prediction of 30 percent, do 30 percent have the finding? Then the dots are "
    "on the dotted line. In all dots of a curve, the same number of images with the finding is expected. Platt "
    "calibration was fitted on validation images. It keeps the order of the images.",
    "subgroups": "Is the model worse for some patients? Each group is compared with the largest one of its kind, on "
    "the same findings and the same bootstrap resamples of patients. Groups also differ in how ill the patients are. "
    "An interval that includes 0 does not show that groups are alike.",
    "heat_maps": "The boxes mark the findings, the colors regions that raised the prediction. Shown is the first "
    "image of each finding. An input-independent baseline ignores the image. A heat map on the finding does not show "
    "that the prediction is right.",
    "published": "How does this compare with published results? Everyone who uses NIH's official split tests on the "
    "same images. Random splits have other test images in each publication. With a split by image, test "
    "patients can be in the development set.",
    "limits": "These limits apply to every result in this talk. Another hospital has other images, and a heat map "
    "does not prove that a model is right.",
    "next": "What should come next? Nobody should rely on the models before that.",
}
