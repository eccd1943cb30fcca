"""The command `cxr`; `python -m cxr_utils` does the same."""

import argparse
import sys

from cxr_utils import config, without_startup_messages

# Name → summary, details with examples, exit codes 0 and 1, and arguments.
_SUBCOMMANDS = {
    "run": (
        "run the seven notebooks in order, without a browser",
        """Stops at the first notebook that fails.

examples:
  cxr run                                           everything on the phantom, a synthetic release
  cxr run --release nih ARCHIVES=1                  the first archive of NIH's images
  cxr run --release /data/nih --from 200 EPOCHS=5   local files, from the first training on

Several hosts train together when each runs the same command with its own --rank. They need JAX, a
folder that all see as --home, and a port of rank 0 that the others reach. Rank 0 runs all notebooks;
the others join it in the training of 200 and 210 and write nothing into the folder.""",
        ("all notebooks ran", "a notebook stopped"),
        {
            "--release": {"default": "phantom", "help": "phantom (default), nih, a folder or a URL"},
            "--home": {"help": "where the run writes; runs/demo for the phantom, else runs/<name of the release>"},
            "--from": {
                "dest": "first",
                "default": "000",
                "help": "number of the notebook to start at, such as 200",
            },
            "--address": {"metavar": "HOST:PORT", "help": "several hosts: where rank 0 listens, a free port of it"},
            "--processes": {"type": int, "help": "several hosts: how many"},
            "--rank": {"type": int, "help": "several hosts: the number of this one, from 0"},
            "parameters": {
                "nargs": "*",
                "metavar": "NAME=VALUE",
                "help": "for all notebooks that have it; 210.NAME=VALUE for one",
            },
        },
    ),
    "predict": (
        "predict images of your own",
        """Prints the probability of each finding
and writes each image with a heat map into a folder, as <image>_<finding>_<model>.png. No file is overwritten.
Thresholds and calibration of X_model.h5 are in X_inference.json next to it. This is no diagnosis.

examples:
  cxr predict cnnmodels/mobilenet_model.h5 chest.dcm
  cxr predict cnnmodels/baseline_model.h5 a.png b.jpg --finding Nodule --out nodules
  cxr predict cnnmodels/mobilenet_model.h5 chest.dcm --accept BodyPartExamined,ViewPosition""",
        (
            "all images were predicted",
            "an image was rejected, the settings do not belong to the model, or a file cannot be read or written",
        ),
        {
            "model": {
                "metavar": "MODEL.h5",
                "help": "written by 200 or 210, such as cnnmodels/mobilenet_model.h5",
            },
            "images": {"metavar": "IMAGE", "nargs": "+", "help": "PNG, JPEG or DICOM"},
            "--finding": {
                "choices": config.LABELS,
                "metavar": "FINDING",
                "help": f"finding of the heat map: {', '.join(config.LABELS)}",
            },
            "--out": {
                "metavar": "FOLDER",
                "default": "cxr_predictions",
                "help": "where heat maps are written (cxr_predictions)",
            },
            "--accept": {
                "metavar": "TAG,TAG",
                "type": lambda names: names.split(","),
                "default": [],
                "help": "DICOM tags that are wrong in these files: Modality, BodyPartExamined, ViewPosition",
            },
        },
    ),
    "check": (
        "read every image in data/images/ and list what is missing or damaged",
        """The images are
those of CXR_HOME, or of the current folder when it is unset.

examples:
  cxr check
  CXR_RELEASE=nih cxr check --repair""",
        (
            "all images are there and intact, and the tables are complete",
            "images are missing or damaged, a table or the download is incomplete, or the check or repair failed",
        ),
        {
            "--repair": {
                "action": "store_true",
                "help": "then fetch the archives of these images again from CXR_RELEASE",
            },
        },
    ),
}


def main(arguments=None):
    """Runs one subcommand.

    Args:
        arguments: list of strings, `sys.argv` without the program's name when `None`.

    Returns:
        int, the exit code that the subcommand's `--help` documents.
    """
    parser = argparse.ArgumentParser(
        prog="cxr",
        description="14 findings from chest X-rays: a pre-diagnosis aid, never a diagnosis.",
        epilog="`cxr SUBCOMMAND --help` shows options, examples and exit codes of each.",
    )
    subcommands = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", dest="name", required=True)
    parsers = {name: _add(subcommands, name, *described) for name, described in _SUBCOMMANDS.items()}
    options = parser.parse_args(arguments)
    try:
        return _execute(options)
    except config.UsageError as error:
        parsers[options.name].error(str(error))


def _add(subcommands, name, summary, details, exit_codes, arguments):
    """Adds one entry of `_SUBCOMMANDS` and returns its parser."""
    meanings = [*exit_codes, "the command line is wrong"]
    parser = subcommands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {details}",
        epilog="\n".join(["exit codes:", *(f"  {code}  {meaning}" for code, meaning in enumerate(meanings))]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for argument, described in arguments.items():
        parser.add_argument(argument, **described)
    return parser


def _execute(options):
    # Each is imported only when it is needed, so that --help does not wait for it.
    if options.name == "run":
        from cxr_utils import run

        hosts = (options.address, options.processes, options.rank)
        return run.run_all(options.release, options.home, options.first, hosts, options.parameters)
    if options.name == "check":
        from cxr_utils import download

        return download.check(options.repair)
    with without_startup_messages():
        from cxr_utils import inference
    return inference.predict_files(options.model, options.images, options.finding, options.out, options.accept)


if __name__ == "__main__":
    sys.exit(main())
