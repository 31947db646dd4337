#!/bin/sh
# Makes this host an authority that speaks ACME for names below test.example: pebble, Let's Encrypt's own server for tests, with
# its DNS server, which says that all names are this host. It knows the account kid-1 only, whose key is in the file account-key. Usage: authority.sh; it listens on https://localhost:14000/dir.
set -eu
folder=/srv/authority
here=$(dirname "$0")
apt-get -qq install -y --no-install-recommends pebble openssl ca-certificates >/dev/null
mkdir -p $folder
cd $folder
# The certificate of its own HTTPS; nothing to do with what it issues.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 30 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
cp cert.pem /usr/local/share/ca-certificates/authority.crt
update-ca-certificates >/dev/null 2>&1
cat >pebble.json <<END
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
 "certificate": "$folder/cert.pem", "privateKey": "$folder/key.pem", "httpPort": 80, "tlsPort": 443,
 "ocspResponderURL": "", "externalAccountBindingRequired": true,
 "externalAccountMACKeys": {"kid-1": "$(cat "$here/account-key")"}}}
END
systemd-run --quiet --unit authority-dns pebble-challtestsrv -defaultIPv4 127.0.0.1 -defaultIPv6 "" -dns01 127.0.0.1:8053 \
    -http01 "" -https01 "" -tlsalpn01 "" -management 127.0.0.1:8055
systemd-run --quiet --unit authority --setenv PEBBLE_VA_NOSLEEP=1 --setenv PEBBLE_WFE_NONCEREJECT=0 \
    pebble -config $folder/pebble.json -dnsserver 127.0.0.1:8053
for _attempt in $(seq 100); do
    # The root of what it issues, for the test's clients.
    if python3 -c "import ssl, urllib.request as u; c = ssl._create_unverified_context()
open('root.pem', 'wb').write(u.urlopen('https://127.0.0.1:15000/roots/0', context=c).read())" 2>/dev/null; then
        exit 0
    fi
    sleep 0.2
done
echo "pebble does not answer" >&2
exit 1
