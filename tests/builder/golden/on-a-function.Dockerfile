# base
FROM host:5000/nuwrap/python@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
USER 0:0
RUN rm -rf /opt/function
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:2eef50e5ee6812f1ee8d6fd77bb9757ba8796ef9eb22b86e0c51087934fde77c"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",\"python\":\"3.11\",\"layout\":\"92017652b736\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:b9437e6cfbb9f05aeb4229e0f8068988958ee172554214c106d69424c2c1ca54"
LABEL org.opencontainers.image.base.digest="sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
LABEL org.opencontainers.image.base.name="host:5000/nuwrap/python:0.1.0-3.11"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
