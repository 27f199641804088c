# base
FROM host:5000/nuwrap/python@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
USER 0:0
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
LABEL dev.nuwrap.content="sha256:b6a9c3537894e193fd76389c67e553bd5fc77703595474ef4de09363104c28d4"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",\"python\":\"3.11\",\"layout\":\"92017652b736\",\"requirement:scikit-learn\":\"1\",\"requirement:pandas>1,<3\":\"1\",\"requirement:attrs\":\"1\",\"requirements\":\"16fd6842b203\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:b9852dd3e0aecb0a85d1a712514b472e9b3c42db499a4f8be16340e4816f09d7"
LABEL org.opencontainers.image.base.digest="sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
LABEL org.opencontainers.image.base.name="host:5000/nuwrap/python:0.1.0-3.11"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
