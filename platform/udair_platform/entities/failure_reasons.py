"""How jobs end, in words: what happened, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Mapping

# What happened, and what a person may do about it: one of each for every reason that a job can end with.
ENDINGS: Mapping[str, tuple[str, str]] = {
    "INVALID_SPEC": ("Its recipe or source cannot be used as written.", "Correct the recipe and run it again."),
    "DATA_EMPTY": ("There is no object below the domain's source.", "Put images there and run it again."),
    "DATA_UNREADABLE": (
        "There are objects, and too few of them are images that can be decoded.",
        "Look at the skipped objects of its snapshot, upload images that open elsewhere, and run it again.",
    ),
    "ACCESS_DENIED": (
        "The images may not be read.",
        "Check the domain's access: the role, its external id, and the bucket's policy; then run it again.",
    ),
    "SOURCE_NOT_FOUND": (
        "A bucket or an object that it reads does not exist.",
        "Check the names in the domain's source, and the endpoint; then run it again.",
    ),
    "TOO_FEW_IMAGES": ("The gate needs images to hold back, and there are too few.", "Add images and run it again."),
    "USER_CANCELLED": ("Somebody cancelled it.", "Run it again if that was a mistake."),
    "NO_CAPACITY": ("The cluster had no room for it.", "Nothing to do: it is tried again when there is room."),
    "QUOTA_EXCEEDED": ("The tenant has as many jobs as it may.", "Wait for others to end, or ask for a higher quota."),
    "PREEMPTED": ("Its machine was taken away.", "Nothing to do: it goes on from its last phase; else run it again."),
    "NODE_LOST": ("Its machine was lost, once for every attempt.", "Run it again; look at the cluster if that recurs."),
    "IMAGE_UNAVAILABLE": (
        "The job's image could not be pulled.",
        "Check its name and the pull secrets, then run it again.",
    ),
    "OOM": ("It needed more memory than it had.", "Lower the patch or batch of the recipe, or give jobs more memory."),
    "GPU_FAULT": ("The accelerator failed under it.", "Run it again; take that machine out if it recurs."),
    "CONTROLLER_ERROR": (
        "The platform or the job failed in a way that is not the data's fault.",
        "Look at its log; if that says nothing, tell whoever runs the platform.",
    ),
    "PENDING_TIMEOUT": ("It waited for room longer than it may.", "Add capacity and run it again."),
    "RUN_TIMEOUT": ("It ran longer than it may.", "Give it fewer images or steps, or a longer limit."),
    "HEARTBEAT_LOST": ("It fell silent.", "Look at the end of its log and run it again."),
    "DIVERGED": ("Training moved away from the target.", "Run it again with a lower learning rate."),
    "NAN_LOSS": (
        "A loss was not a number.",
        "Run it again with a lower learning rate; what served before serves meanwhile.",
    ),
}
UNKNOWN_ENDING = ("It ended for a reason that is not known here.", "Look at its log.")
