# base
FROM host:5000/team/base@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
USER 0:0
# runtime
COPY --from=host:5000/nuwrap/runtime@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc /opt/nuwrap /opt/nuwrap
# places
RUN mkdir -p /work /cache /tmp && chmod 1777 /work /cache /tmp
ENV NUWRAP_WORK="/work" NUWRAP_CACHE="/cache" USER="nuwrap"
# python
RUN command -v python3 >/dev/null || { echo 'the base image has no python3 on its PATH, the function asks for Python 3.11' >&2; exit 1; }; python3 -c "import sys; v = '%d.%d' % sys.version_info[:2]; sys.exit('the base image has Python ' + v + ', the function asks for 3.11' if v != '3.11' else 0)"
# bytecode
RUN ["/opt/nuwrap/bin/nuwrap-host", "compile"]
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:88ea8605fd559f808104fd651a8134bcb4e0bd4eebb27a201b9a22f5cc1e042f"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"runtime\":\"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\",\"python\":\"3.11\",\"layout\":\"d8f25e9c2c76\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:b9437e6cfbb9f05aeb4229e0f8068988958ee172554214c106d69424c2c1ca54"
LABEL org.opencontainers.image.base.digest="sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
LABEL org.opencontainers.image.base.name="host:5000/team/base:1"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
