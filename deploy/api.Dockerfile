# The API alone: no torch, no engine.
FROM docker.io/library/python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY pyproject.toml setup.py constraints.txt README.md LICENSE NOTICE ./
COPY services services
COPY m3r m3r
COPY clients/python clients/python
COPY kernels kernels
COPY mast3r_engine mast3r_engine
RUN pip install --constraint constraints.txt '.[api]'
RUN useradd --create-home --uid 10001 m3r && mkdir -p /data && chown m3r /data
USER m3r
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz/live', timeout=2)"
CMD ["m3r", "serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "0", "--data", "/data"]
