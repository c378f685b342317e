#!/usr/bin/env bash
# setup.sh
#
# Installs what building and testing need, from the package archive that this machine's apt uses. Does
# nothing, in a tenth of a second, when all is there. Safe to interrupt and to run again.
set -euo pipefail

fail() {
  echo "setup.sh: $1" >&2
  exit 1
}

[ "$(id -u)" = 0 ] || fail "must run as root: it installs packages, and the lab makes namespaces"
[ -r /etc/os-release ] || fail "this is not Debian (no /etc/os-release)"
. /etc/os-release
[ "${ID:-}" = debian ] || fail "this is ${PRETTY_NAME:-an unknown system}; Debian 12 or 13 is needed"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this is not an x86-64 machine"
command -v swift >/dev/null ||
  fail "no swift in PATH; install a Swift 6.2 toolchain or newer for Debian (swift.org/install)"

packages=(
  busybox-static ca-certificates cpio curl debootstrap e2fsprogs iproute2 kmod liblwip-dev
  libsqlite3-dev openssh-client procps util-linux xz-utils zstd
)

missing() {
  dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null |
    awk '$1 == "installed" { print $2 }' | sort |
    comm -13 - <(printf '%s\n' "${packages[@]}" | sort)
}

have_qemu() {
  local version
  command -v qemu-img >/dev/null || return 1
  version=$(qemu-system-x86_64 --version 2>/dev/null) || return 1
  [[ $version =~ version\ ([0-9]+)\. ]] && [ "${BASH_REMATCH[1]}" -ge 10 ]
}

mapfile -t wanted < <(missing)
if [ ${#wanted[@]} = 0 ] && have_qemu; then exit 0; fi

have_qemu || wanted+=("QEMU 10")
echo "setup: installing ${wanted[*]} (up to 3 minutes)" >&2
mapfile -t wanted < <(missing)

export DEBIAN_FRONTEND=noninteractive
apt() { apt-get --quiet --quiet -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null; }

# What an interrupted installation left half done.
[ -z "$(dpkg --audit)" ] || dpkg --configure -a >&2

apt update
[ ${#wanted[@]} = 0 ] || apt install --yes --no-install-recommends "${wanted[@]}"

# Prints this machine's own source of Debian packages with another suite: its deb822 stanza or, after
# "list", its line.
other_suite() {
  local file found
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] || continue
    found=$(awk -v RS= -v from="$VERSION_CODENAME" -v to="$1" '
      /(^|\n)Enabled: *no/ { next }
      match($0, "(^|\n)Suites:[^\n]*[ \t]" from "([ \t\n]|$)") {
        count = split($0, line, "\n")
        for (i = 1; i <= count; i++) {
          if (line[i] ~ /^#/) continue
          if (line[i] ~ /^Suites:/) line[i] = "Suites: " to
          if (line[i] ~ /^Components:/) line[i] = "Components: main"
          print line[i]
        }
        exit
      }' "$file")
    [ -z "$found" ] || { printf 'sources\n%s\n' "$found" && return; }
  done
  found=$(find /etc/apt -name '*.list' -exec cat {} + |
    sed -nE "s/^(deb[[:space:]]+(\[[^]]*\][[:space:]]+)?[^[:space:]]+[[:space:]]+)$VERSION_CODENAME[[:space:]].*/\1$1 main/p" |
    head -1)
  [ -z "$found" ] || printf 'list\n%s\n' "$found"
}

if ! have_qemu; then
  suite=()
  candidate=$(apt-cache policy qemu-system-x86 | awk '$1 == "Candidate:" { print $2 }')
  if dpkg --compare-versions "${candidate#(none)}" lt 1:10; then
    suite=(--target-release "$VERSION_CODENAME-backports")
    if ! apt-cache madison qemu-system-x86 | grep -q "$VERSION_CODENAME-backports/"; then
      { read -r kind && source=$(cat); } < <(other_suite "$VERSION_CODENAME-backports") ||
        fail "no source of $VERSION_CODENAME packages found below /etc/apt to derive the backports from"
      target=/etc/apt/sources.list.d/dormouse-backports.$kind
      echo "setup: adding $target" >&2
      printf '%s\n' "$source" >"$target.new"
      mv "$target.new" "$target"
      apt update
    fi
  fi
  apt install --yes --no-install-recommends "${suite[@]}" qemu-system-x86 qemu-utils
  have_qemu || fail "QEMU 10 or newer is needed, and apt's sources have only $candidate"
fi
mapfile -t wanted < <(missing)
[ ${#wanted[@]} = 0 ] || fail "could not install ${wanted[*]}"
