# All parts of the shell side, in the order in which they need each other. Sets `root`, the repository's directory.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# shellcheck source=lib/output.sh
. "$root/bin/lib/output.sh"
# shellcheck source=lib/lifetime.sh
. "$root/bin/lib/lifetime.sh"
# shellcheck source=lib/packages.sh
. "$root/bin/lib/packages.sh"
# shellcheck source=lib/python.sh
. "$root/bin/lib/python.sh"
# shellcheck source=lib/host.sh
. "$root/bin/lib/host.sh"
# shellcheck source=lib/engine.sh
. "$root/bin/lib/engine.sh"
# shellcheck source=lib/private-engine.sh
. "$root/bin/lib/private-engine.sh"
# shellcheck source=lib/base-image.sh
. "$root/bin/lib/base-image.sh"
# shellcheck source=lib/buildx.sh
. "$root/bin/lib/buildx.sh"
# shellcheck source=lib/emulator.sh
. "$root/bin/lib/emulator.sh"
