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
# envs
ENV LANG="it_IT.UTF-8"
ARG DEBIAN_FRONTEND
ARG MODEL
# instruction 1
RUN apt-get update && apt-get install -y locales
# requirements
COPY requirements.txt /opt/nuwrap-image/requirements.txt
RUN ["/opt/nuwrap/bin/nuwrap-host", "install", "--requirements", "/opt/nuwrap-image/requirements.txt", "--lock", "/opt/nuwrap-image/requirements.lock"]
ENV MODEL="a \"b\" \\ \$HOME '"
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:81d0b39051f5238789adc19213df10e7430901568ab5d5ec838b83ddda908d55"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"runtime\":\"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\",\"python\":\"3.11\",\"layout\":\"d8f25e9c2c76\",\"env:DEBIAN_FRONTEND\":\"7482d0f39f58\",\"env:MODEL\":\"fa663b958855\",\"env:LANG\":\"4166a8175818\",\"instruction 1\":\"72bdf33c3638\",\"requirement:numpy\":\"1\",\"requirements\":\"90ae97600dd0\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:8fe4108c803bc6c241d867771454988d9a1e3dff653b4928b230509ebb861807"
LABEL org.opencontainers.image.base.digest="sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
LABEL org.opencontainers.image.base.name="python:3.11-slim"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
