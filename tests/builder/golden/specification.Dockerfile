# base
FROM host:5000/nuwrap/python@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
USER 0:0
# instruction 1
RUN export DEBIAN_FRONTEND=noninteractive && apt-get update && apt-get install -y git
# requirements
COPY requirements.txt /opt/nuwrap-image/requirements.txt
RUN ["/opt/nuwrap/bin/nuwrap-host", "install", "--requirements", "/opt/nuwrap-image/requirements.txt", "--lock", "/opt/nuwrap-image/requirements.lock"]
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:5e24afcaebe99544dfdbeb375a55ba8a2035cba56addfb51dbf4a5d90f4b70fa"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",\"python\":\"3.11\",\"layout\":\"92017652b736\",\"instruction 1\":\"e8c391026082\",\"requirement:pandas>1,<3\":\"1\",\"requirements\":\"b0a80efd3297\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:40ae3f79924f7cbcede0438e5561e11d7785852066bde23cf2760ae61f896af0"
LABEL org.opencontainers.image.base.digest="sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
LABEL org.opencontainers.image.base.name="host:5000/nuwrap/python:0.1.0-3.11"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
