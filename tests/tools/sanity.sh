#!/bin/sh
# ansible-test sanity over what git knows of this checkout, without an ignore file. ansible-test wants a real
# ansible_collections/ path (no link), so the files are copied; its own environments are cached in .cache/.
set -eu
cd "$(dirname "$0")/../.."
cache=$PWD/.cache
target=$cache/sanity/ansible_collections/mistralrs/stack
rm -rf "$target"
mkdir -p "$target" "$cache/sanity-home/.ansible/test/cache"

# The wheels that the interpreter ships replace ansible-test's download of get-pip.py from its own site.
bootstrap=$cache/sanity-home/.ansible/test/cache
version=$(sed -n "s/^ *pip='\([0-9.]*\)',/\1/p" "$cache"/venv/lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py)
cat >"$bootstrap/get_pip_$(echo "$version" | tr . _).py" <<'PYTHON'
import ensurepip
import subprocess
import sys

ensurepip.bootstrap()
packages = [word for word in sys.argv[1:] if not word.startswith("-")]
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
PYTHON

# Files that are not committed yet count too; what git ignores does not.
git ls-files -z --cached --others --exclude-standard -- CHANGELOG.md LICENSE README.md changelogs docs galaxy.yml meta playbooks plugins roles tests/config.yml tests/unit |
    xargs -0 sh -c 'for file do [ -e "$file" ] && printf "%s\0" "$file"; done' sh | xargs -0 cp --parents -t "$target"
cd "$target"
git init --quiet .
git add --all
version=$("$cache/venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# Only interpreters that run: a name on PATH may be a shim that does not.
PATH="$cache/venv/bin:/usr/local/bin:/usr/bin:/bin" HOME="$cache/sanity-home" ANSIBLE_CONFIG=/dev/null \
    ansible-test sanity --local --python "$version" --color no "$@"
