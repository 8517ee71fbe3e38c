# syntax=docker/dockerfile:1
# The PostgreSQL of a self-hosted Supabase, with webhook_delivery.
#
# docker build --tag supabase-postgres-webhooks .
# docker build --tag supabase-postgres-webhooks --build-arg PG_MAJOR=17 --build-arg SUPABASE_POSTGRES=supabase/postgres:17.6.1.008 .
ARG PG_MAJOR=15
ARG SUPABASE_POSTGRES=supabase/postgres:15.8.1.085

FROM rust:1.95-bookworm AS rust

# Its headers are those of the same major version, whose libraries load into any minor version of it; its C library is older than
# the one of Supabase's image, and so is enough there.
FROM postgres:${PG_MAJOR}-bookworm AS build
ARG PG_MAJOR
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
# Those of the day on which the image is built: security fixes, too.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates clang gcc libc6-dev libclang-dev make "postgresql-server-dev-${PG_MAJOR}" \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make package PG_CONFIG="/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config"

FROM ${SUPABASE_POSTGRES}
COPY --from=build /src/target/package /tmp/webhook_delivery
# The settings are those of the image, with the library beside theirs and the extension among those that the role postgres may create.
RUN install -m 755 /tmp/webhook_delivery/webhook_delivery.so "$(pg_config --pkglibdir)/" \
    && install -m 644 /tmp/webhook_delivery/*.control /tmp/webhook_delivery/*.sql "$(pg_config --sharedir)/extension/" \
    && rm -r /tmp/webhook_delivery \
    && sed -i "s/^shared_preload_libraries = '\([^']*\)'/shared_preload_libraries = '\1, webhook_delivery'/" /etc/postgresql/postgresql.conf \
    && grep -q "^shared_preload_libraries = .*webhook_delivery" /etc/postgresql/postgresql.conf \
    && sed -i "s/^supautils.privileged_extensions = '\([^']*\)'/supautils.privileged_extensions = '\1, webhook_delivery'/" /etc/postgresql-custom/supautils.conf \
    && grep -q "^supautils.privileged_extensions = .*webhook_delivery" /etc/postgresql-custom/supautils.conf \
    && mkdir -p /etc/postgresql-custom/extension-custom-scripts/webhook_delivery \
    && echo "select webhook_delivery.grant_application('postgres');" \
        >/etc/postgresql-custom/extension-custom-scripts/webhook_delivery/after-create.sql
