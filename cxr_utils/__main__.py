"""The command `cxr`; `python -m cxr_utils` does the same."""

import argparse
import sys

from cxr_utils import config

_EXIT_CODES = """exit codes:
  0  {0}
  1  {1}
  2  the command line is wrong"""


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
    subcommands = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for add in (_add_run, _add_predict, _add_check):
        add(subcommands)
    options = parser.parse_args(arguments)
    return options.execute(options)


def _add(subcommands, name, summary, execute, details, exit_codes):
    parser = subcommands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {details}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.epilog = _EXIT_CODES.format(*exit_codes)
    parser.set_defaults(execute=execute, parser=parser)
    return parser


def _add_run(subcommands):
    parser = _add(
        subcommands, "run", "run the seven notebooks in order, without a browser", _run,
        """Stops at the first notebook that fails.

examples:
  cxr run                                           everything on the phantom, a synthetic release
  cxr run --release nih ARCHIVES=1                  the first archive of NIH's images
  cxr run --release /data/nih --from 200 EPOCHS=5   local files, from the first training on

Several hosts train together when each runs the same command with its own --rank. They need JAX, a
folder that all see as --home, and a port of rank 0 that the others reach. Rank 0 runs all notebooks;
the others join it in the training of 200 and 210 and write nothing into the folder.""",
        ("all notebooks ran", "a notebook stopped"),
    )  # fmt: skip
    parser.add_argument("--release", default="phantom", help="phantom (default), nih, a folder or a URL")
    parser.add_argument(
        "--home", help="where the run writes; runs/demo for the phantom, else runs/<name of the release>"
    )
    parser.add_argument("--from", dest="first", default="000", help="number of the notebook to start at, such as 200")
    parser.add_argument("--address", metavar="HOST:PORT", help="several hosts: where rank 0 listens, a free port of it")
    parser.add_argument("--processes", type=int, help="several hosts: how many")
    parser.add_argument("--rank", type=int, help="several hosts: the number of this one, from 0")
    parser.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="for all notebooks that have it; 210.NAME=VALUE for one"
    )


def _run(options):
    # Imported here, so that --help does not wait for it; the same in the next ones.
    from cxr_utils import run

    hosts = (options.address, options.processes, options.rank)
    try:
        return run.run_all(options.release, options.home, options.first, hosts, options.parameters)
    except config.UsageError as error:
        options.parser.error(str(error))


def _add_predict(subcommands):
    parser = _add(
        subcommands, "predict", "predict images of your own", _predict,
        """Prints the probability of each finding
and writes each image with a heat map into the current folder. This is no diagnosis.

examples:
  cxr predict cnnmodels/mobilenet_model.h5 chest.dcm
  cxr predict cnnmodels/baseline_model.h5 a.png b.jpg --finding Nodule""",
        ("all images were predicted", "an image was rejected, or the model or a file cannot be read or written"),
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL.h5", help="written by 200 or 210, such as cnnmodels/mobilenet_model.h5")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="PNG, JPEG or DICOM")
    parser.add_argument(
        "--finding",
        choices=config.LABELS,
        metavar="FINDING",
        help=f"finding of the heat map: {', '.join(config.LABELS)}",
    )


def _predict(options):
    from cxr_utils import inference

    try:
        return inference.predict_files(options.model, options.images, options.finding)
    except config.UsageError as error:
        options.parser.error(str(error))


def _add_check(subcommands):
    parser = _add(
        subcommands, "check", "read every image in data/images/ and list what is missing or damaged", _check,
        """The images are
those of CXR_HOME, or of the current folder when it is unset.

examples:
  cxr check
  CXR_RELEASE=nih cxr check --repair""",
        (
            "all images are there and intact",
            "images are missing or damaged, a download is unfinished, or the check or repair failed",
        ),
    )  # fmt: skip
    parser.add_argument(
        "--repair", action="store_true", help="then fetch the archives of these images again from CXR_RELEASE"
    )


def _check(options):
    from cxr_utils import download

    return download.check(options.repair)


if __name__ == "__main__":
    sys.exit(main())
