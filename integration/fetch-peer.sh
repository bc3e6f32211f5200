#!/bin/bash
# fetch-peer.sh DIR: unpacks Debian's Go plugins below DIR, without installing them, and prints the
# directory of the programs.
set -euo pipefail

mkdir -p "$1"
cd "$1"
if [ ! -x usr/lib/cni/bridge ]; then
    rm -f ./*.deb
    fetch() {
        apt-get download -qq -o APT::Sandbox::User=root containernetworking-plugins > /dev/null
    }
    fetch 2> /dev/null || { apt-get update -qq > /dev/null && fetch; }
    dpkg -x ./*.deb .
fi
echo "$PWD/usr/lib/cni"
