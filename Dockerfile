# syntax=docker/dockerfile:1
# The PostgreSQL of a self-hosted Supabase, with webhook_delivery.
#
# docker build --tag supabase-postgres-webhooks .
# docker build --tag supabase-postgres-webhooks --build-arg PG_MAJOR=15 --build-arg SUPABASE_POSTGRES=supabase/postgres:15.8.1.085 .
#
# Follows https://supabase.com/docs/guides/self-hosting/custom-postgres-extensions: the image is built by Nix, with a C library of its own.
ARG PG_MAJOR=17
ARG SUPABASE_POSTGRES=supabase/postgres:17.6.1.136

FROM rust:1.95-bookworm AS rust

# Of the same major version, whose libraries load into any minor version of it; and with a C library that is older than the image's.
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
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY . .
# The compiler's own library goes into ours: the image has none where the server looks for one. Nothing but the C library may be left to be found.
RUN mkdir /static \
    && echo 'INPUT(-lgcc_eh -lgcc)' >/static/libgcc_s.so \
    && RUSTFLAGS="-L native=/static" make package PG_CONFIG="/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config" \
    && readelf --dynamic target/package/webhook_delivery.so >/static/dynamic \
    && ! grep NEEDED /static/dynamic | grep --invert-match --extended-regexp 'libc\.so|ld-linux'

# hadolint ignore=DL3006
FROM ${SUPABASE_POSTGRES}
# hadolint ignore=DL3002
USER 0
COPY --from=build /src/target/package /tmp/webhook_delivery
# The server is a script that says where its modules are, where it is not what pg_config says. The settings are those of the image, with the
# library beside theirs and the extension among those that the role postgres may create.
RUN modules="$(sed -n "s/^export NIX_PGLIBDIR='\(.*\)'/\1/p" "$(command -v postgres)")" \
    && install -m 755 /tmp/webhook_delivery/webhook_delivery.so "${modules:-$(pg_config --pkglibdir)}/" \
    && install -m 644 /tmp/webhook_delivery/*.control /tmp/webhook_delivery/*.sql "$(pg_config --sharedir)/extension/" \
    && rm -r /tmp/webhook_delivery \
    && sed -i "s/^shared_preload_libraries = '\([^']*\)'/shared_preload_libraries = '\1, webhook_delivery'/" /etc/postgresql/postgresql.conf \
    && grep -q "^shared_preload_libraries = .*webhook_delivery" /etc/postgresql/postgresql.conf \
    && sed -i "s/^supautils.privileged_extensions = '\([^']*\)'/supautils.privileged_extensions = '\1, webhook_delivery'/" /etc/postgresql-custom/supautils.conf \
    && grep -q "^supautils.privileged_extensions = .*webhook_delivery" /etc/postgresql-custom/supautils.conf \
    && mkdir -p /etc/postgresql-custom/extension-custom-scripts/webhook_delivery \
    && echo "select webhook_delivery.grant_application('postgres');" \
        >/etc/postgresql-custom/extension-custom-scripts/webhook_delivery/after-create.sql
