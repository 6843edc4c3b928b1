"""Training: degradations, losses, the loop, evaluation, and export to ONNX. Run from a checkout."""


class TrainingError(ValueError):
    """What a user can mend; its text says what is wrong and the way out."""

    #: What the command line exits with.
    exit_code = 2
