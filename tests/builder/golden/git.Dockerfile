# base
FROM host:5000/nuwrap/python@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
USER 0:0
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:469c925393e193db4fcaaa95f0f0f2a3951affbe18150eb0c38d7826217c2217"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",\"python\":\"3.11\",\"layout\":\"92017652b736\",\"code\":\"aa90c9d8efc4 2\",\"revision\":\"1234abc\",\"function\":\"6fbc70af5ba0\",\"file:pkg/__init__.py\":\"111111111111\",\"file:run.sh\":\"222222222222\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:c93610d363b24a1f18a1d6ce656f288d079bdb7cdd37838abafa7d1c1696e64d"
LABEL org.opencontainers.image.base.digest="sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
LABEL org.opencontainers.image.base.name="host:5000/nuwrap/python:0.1.0-3.11"
LABEL org.opencontainers.image.revision="1234abc"
LABEL org.opencontainers.image.source="git+https://example.com/team/code.git#v1"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
