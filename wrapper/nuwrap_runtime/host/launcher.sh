#!/bin/sh
# nuwrap-host of an image: becomes the host (exec: it is PID 1 when this is) in the image's own python3.
# -I -S: no PYTHON* variable, no site-packages and no file of the user's plays a part in the host.
self=$0
[ ! -L "$self" ] || self=$(readlink -f "$self")
case $self in
*/*) folder=${self%/*} ;;
*) folder=. ;; # sh nuwrap-host
esac
if ! command -v python3 >/dev/null; then
    echo "nuwrap-host: there is no python3 on PATH ($PATH): the host runs in the image's own Python;" \
        "use a base image that has Python 3.9 or later, or put its folder on PATH" >&2
    exit 10
fi
exec python3 -I -S -u "$folder/../worker/nuwrap_runtime/host/entry.py" "$@"
