#!/bin/sh
# open3d needs libusb-1.0 at run time, the kernels a C++ compiler. Install what is missing when root, else name it in one line.
# With the argument "dev": a Chromium, in which the tests open the page. Without one they are skipped, so that is no error.
set -eu
if [ "${1:-}" = dev ]; then
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
  done
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing chromium for the tests of the page"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/tmp/m3r-apt-dev.log 2>&1 && exit 0
  fi
  echo "no Chromium: the tests of the page are skipped  (Debian: sudo apt-get install chromium)" >&2
  exit 0
fi
missing=""
if [ "$(uname -s)" = "Linux" ]; then
  ldconfig -p 2>/dev/null | grep -q 'libusb-1\.0\.so' || [ -e /usr/lib/x86_64-linux-gnu/libusb-1.0.so.0 ] || missing="$missing libusb-1.0-0"
  ldconfig -p 2>/dev/null | grep -q 'libgomp\.so' || missing="$missing libgomp1"
fi
command -v "${CXX:-g++}" >/dev/null 2>&1 || missing="$missing g++"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing system packages:$missing"
  # shellcheck disable=SC2086
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/tmp/m3r-apt.log 2>&1 && exit 0
  echo "apt-get failed; its output is in /tmp/m3r-apt.log" >&2
fi
echo "missing system packages:$missing  (Debian/Ubuntu: sudo apt-get install$missing)" >&2
exit 1
