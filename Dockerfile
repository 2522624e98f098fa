# The service. Without LEADSCORE_DATABASE_URL and MLFLOW_TRACKING_URI, the database and the registry are in the volume.
#   docker build --tag leadscore .
#   docker run --rm --volume leadscore:/srv/models leadscore python pipelines/keys.py --create write,read --note crm
#   docker run --publish 127.0.0.1:8000:8000 --volume leadscore:/srv/models leadscore
FROM python:3.11-slim

# LightGBM's threads; the certificates and the time zones come with Python's packages.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*

RUN useradd --system --uid 10001 --create-home --home-dir /srv leadscore
WORKDIR /srv

# What leadscore needs, at the versions of constraints.txt, with no source yet: a layer that only these two files renew.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > requirements.txt \
 && pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt --constraint constraints.txt \
 && rm requirements.txt

COPY README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps . && rm -rf build src
COPY pipelines pipelines

# The user may write here alone: SQLite's database and local copies of champions.
RUN install --directory --owner leadscore models
VOLUME /srv/models
USER leadscore

# Other machines may call: the service refuses to start until there is an API key.
ENV LEADSCORE_HOST=0.0.0.0 \
    LEADSCORE_PORT=8000 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PYTHONUNBUFFERED=1
EXPOSE 8000
# A stop waits for requests under way as long as one may take, 30 s: give it more, docker stop --time 40.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"LEADSCORE_PORT\"]}/readyz', timeout=4)"]
# As a list: no shell stands between the signal and the service.
CMD ["python", "pipelines/serve.py"]
