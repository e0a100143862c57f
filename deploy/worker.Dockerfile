# One worker. The base is an argument, so that it can also be built on a plain CPU image.
ARG BASE=docker.io/nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM ${BASE}
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 DEBIAN_FRONTEND=noninteractive PATH=/opt/m3r/bin:$PATH
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv python3-dev g++ libusb-1.0-0 libgomp1 ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml setup.py constraints.txt README.md LICENSE NOTICE ./
COPY services services
COPY m3r m3r
COPY clients/python clients/python
COPY kernels kernels
COPY mast3r_engine mast3r_engine
RUN python3 -m venv /opt/m3r && pip install --constraint constraints.txt --editable '.[worker]' && python -m mast3r_kernels.build
RUN useradd --create-home --uid 10001 m3r && mkdir -p /data && chown m3r /data
USER m3r
STOPSIGNAL SIGTERM
CMD ["m3r", "worker"]
