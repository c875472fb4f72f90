"""with_server.py [SERVER FLAGS] -- COMMAND...: runs a command with RUNNEL_URL naming a server of its own."""
import os
import subprocess
import sys

import harness

split = sys.argv.index("--")
server = harness.Server(*sys.argv[1:split])
code = subprocess.run(sys.argv[split + 1:], env=dict(os.environ, RUNNEL_URL=server.url, GCE_METADATA_HOST=f"127.0.0.1:{server.port}")).returncode
if code:
    print("the server's log ends with:\n" + server.log_tail(), file=sys.stderr)
for cleanup in reversed(harness.cleanups):
    cleanup()
sys.exit(code)
