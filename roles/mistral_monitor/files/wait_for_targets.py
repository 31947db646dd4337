"""Waits until Prometheus has scraped every target, and prints those that do not answer, one a line.

Arguments: Prometheus' address, the number of targets, the seconds to wait. Exit code 0 and no output if
all answer, else 1.
"""

import json
import sys
import time
import urllib.request

address, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
end = time.monotonic() + seconds
# Prometheus is on this host or in its network: a proxy has no part in it.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while True:
    try:
        with opener.open(f"http://{address}/api/v1/targets?state=active", timeout=10) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        problems = [
            f"{target['scrapeUrl']} {target['lastError']}".strip() for target in targets if target["health"] != "up"
        ]
        if len(targets) < count:
            problems.append(f"{count - len(targets)} targets that Prometheus does not know yet")
    except (OSError, ValueError, KeyError) as error:
        problems = [f"itself at {address} ({error})"]
    if not problems or time.monotonic() > end:
        break
    time.sleep(1)
print("\n".join(problems))
sys.exit(1 if problems else 0)
