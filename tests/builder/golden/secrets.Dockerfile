# base
FROM python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
USER 0:0
# runtime
COPY --from=host:5000/nuwrap/runtime@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc /opt/nuwrap /opt/nuwrap
# places
RUN mkdir -p /work /cache /tmp && chmod 1777 /work /cache /tmp
ENV NUWRAP_WORK="/work" NUWRAP_CACHE="/cache" USER="nuwrap"
# bytecode
RUN ["/opt/nuwrap/bin/nuwrap-host", "compile"]
# instruction 1
RUN --mount=type=secret,id=TOKEN,required=true --mount=type=secret,id=pip.conf,required=true test -s /run/secrets/TOKEN
# requirements
COPY requirements.txt /opt/nuwrap-image/requirements.txt
RUN --mount=type=secret,id=TOKEN,required=true --mount=type=secret,id=pip.conf,required=true ["/opt/nuwrap/bin/nuwrap-host", "install", "--requirements", "/opt/nuwrap-image/requirements.txt", "--lock", "/opt/nuwrap-image/requirements.lock"]
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:7961709cbc515e359718a689f7696faed754d76b23f83255ee55c2992319cb60"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"runtime\":\"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\",\"python\":\"3.11\",\"layout\":\"d8f25e9c2c76\",\"secret:TOKEN\":\"1\",\"secret:pip.conf\":\"1\",\"instruction 1\":\"08931edad146\",\"requirement:private-package==1\":\"1\",\"requirements\":\"8efdfda23bb7\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:8cfa8921c4b4b3058994db84825b43e17d362de48f7452dd5ff726dcc1cf0539"
LABEL org.opencontainers.image.base.digest="sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
LABEL org.opencontainers.image.base.name="python:3.11-slim"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
