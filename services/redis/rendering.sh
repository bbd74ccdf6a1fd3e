# shellcheck shell=sh
# Sourced by the entrypoints of Redis and Sentinel: secrets and ACL. POSIX sh, so that any base image runs it.

# secret <user>: the user's password; one line, with or without a newline at its end.
secret() {
    file=/run/secrets/redis_$1_password
    [ -r "$file" ] || fail "cannot read $file: run \`make up\`, which writes the secrets"
    IFS= read -r value <"$file" || [ -n "$value" ] || fail "$file is empty: delete its line in .env and run \`make up\`"
    printf '%s' "$value"
}

# quoted <text>: as one argument of a configuration file.
quoted() {
    printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

# render_acl <template> <file>: passwords become digests, so that no ACL file or ACL LIST shows one.
render_acl() {
    script=
    for user in app replication sentinel exporter operator health; do
        password=$(secret "$user") || exit 1
        digest=$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1)
        script="$script;s/@@$(printf '%s' "$user" | tr '[:lower:]' '[:upper:]')_SHA256@@/$digest/"
    done
    sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' -e "${script#;}" "$1" >"$2"
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {
    say "$*" >&2
    exit 1
}
